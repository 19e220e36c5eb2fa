"""The fields that a pause copies unchanged from the request that creates it."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseContent:
    """The agent's own description of its action. `PauseRequest` and `Pause` both inherit these fields.

    Attributes:
        arguments_schema: the JSON Schema that edited arguments must match.
        external_id: the agent's name for the pause; several pauses may share one.
    """

    context: dict[str, Any] | None = None
    arguments: dict[str, Any] | None = None
    arguments_schema: dict[str, Any] | None = None
    response_schema: dict[str, Any] | None = None
    callback_url: str | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    external_id: str | None = None


CONTENT_FIELDS = tuple(field.name for field in fields(PauseContent))
