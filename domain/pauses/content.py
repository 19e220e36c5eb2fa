"""The fields that a pause copies unchanged from the request that creates it."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseContent:
    """The agent's own description of its action. `PauseRequest` and `Pause` both inherit these fields.

    Attributes:
        arguments_schema: the JSON Schema that edited arguments must match.
        callback_format: the name of the format of the callback; None means a Standard Webhook. Only doors set it.
        external_id: the agent's name for the pause; several pauses may share one.
        approval_valid_for: the seconds after the decision in which an approval may be used; None means no limit.
        outcome_within: the seconds after the use until a missing outcome becomes an event; None means the default, and
            `NO_OUTCOME` means never.
    """

    context: dict[str, Any] | None = None
    arguments: dict[str, Any] | None = None
    arguments_schema: dict[str, Any] | None = None
    response_schema: dict[str, Any] | None = None
    callback_url: str | None = None
    callback_format: str | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    external_id: str | None = None
    approval_valid_for: int | None = None
    outcome_within: int | None = None


CONTENT_FIELDS = tuple(field.name for field in fields(PauseContent))
