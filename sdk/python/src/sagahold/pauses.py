"""A pause as the server describes it, read strictly: a document with a mistake is an error, never an approval."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from sagahold import canonical_json
from sagahold.errors import UnexpectedResponse

Status = Literal["pending", "approved", "rejected", "expired", "cancelled"]
ExecutionStatus = Literal["succeeded", "failed", "unknown"]
T = TypeVar("T")


@dataclass(frozen=True)
class Decision:
    """The decision on a pause. After an approval, `arguments` are exactly what may run."""

    outcome: Status
    decided_by: str
    decided_by_name: str
    decided_at: str
    comment: str | None
    arguments: dict[str, Any] | None
    response: Any
    valid_until: str | None


@dataclass(frozen=True)
class Outcome:
    """The agent's report of what happened when it used the approval."""

    status: ExecutionStatus
    note: str | None
    result: Any
    reported_at: str | None


@dataclass(frozen=True)
class Pause:
    """An action that waits for a decision, or has one.

    Attributes:
        arguments: as they are now; a reviewer may have edited them.
        posted_arguments: as the agent posted them.
        consumed_at: when the approval was used, or None.
        outcome: what was reported after that, or None.
        document: the whole document of the API.
    """

    watch_id: str
    status: Status
    action: str
    arguments: dict[str, Any] | None
    posted_arguments: dict[str, Any] | None
    arguments_digest: str | None
    revision: int
    review_url: str
    decision: Decision | None
    consumed_at: str | None
    outcome: Outcome | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def approved(self) -> bool:
        return self.status == "approved"


def read_pause(document: object, watch_id: str | None = None) -> Pause:
    """Read the document of a pause. Raise `UnexpectedResponse` if it is another pause, or no pause at all."""
    found = _a(dict, {"pause": document}, "pause")
    if watch_id not in (None, found.get("watchId")):
        raise UnexpectedResponse(f"the server sent another pause than {watch_id}: do not continue, ask its operator")
    if found.get("unreadable"):
        raise UnexpectedResponse(f"the server does not understand {found['unreadable']} of this pause: upgrade it")
    context = _a(dict, found, "agentContext")
    consumption = _maybe(dict, found, "consumption")
    posted = _maybe(dict, found, "postedArguments")
    pause = Pause(
        watch_id=_a(str, found, "watchId"),
        status=_choice(found, Status),
        action=_a(str, context, "action"),
        arguments=_maybe(dict, context, "arguments"),
        posted_arguments=_maybe(dict, context, "arguments") if posted is None else posted,
        arguments_digest=_maybe(str, found, "argumentsDigest"),
        revision=_a(int, found, "revision"),
        review_url=_a(str, found, "reviewUrl"),
        decision=None if found.get("status") == "pending" else _decision(_a(dict, found, "decision")),
        consumed_at=None if consumption is None else _a(str, consumption, "consumedAt"),
        outcome=None if consumption is None else _outcome(_maybe(dict, consumption, "outcome")),
        document=found,
    )
    if pause.decision is not None and pause.decision.outcome != pause.status:
        raise UnexpectedResponse(f"the pause is {pause.status}, but its decision says {pause.decision.outcome}")
    if pause.decision is not None and pause.approved:
        _check_digest(pause.decision.arguments, pause.arguments_digest)
    return pause


def _decision(found: Mapping[str, Any]) -> Decision:
    return Decision(
        outcome=_choice(found, Status, "outcome"),
        decided_by=_a(str, found, "decidedBy"),
        decided_by_name=_maybe(str, found, "decidedByName") or _a(str, found, "decidedBy"),
        decided_at=_a(str, found, "decidedAt"),
        comment=_maybe(str, found, "comment"),
        arguments=_maybe(dict, found, "arguments"),
        response=found.get("response"),
        valid_until=_maybe(str, found, "validUntil"),
    )


def _outcome(found: Mapping[str, Any] | None) -> Outcome | None:
    if found is None:
        return None
    status = _choice(found, ExecutionStatus)
    return Outcome(status, _maybe(str, found, "note"), found.get("result"), _maybe(str, found, "reportedAt"))


def _check_digest(arguments: dict[str, Any] | None, stated: str | None) -> None:
    try:
        computed = None if arguments is None else canonical_json.digest(arguments)
    except (ValueError, OverflowError) as error:
        raise UnexpectedResponse(f"the approved arguments are not JSON: {error}") from error
    if computed != stated:
        raise UnexpectedResponse(
            "the approved arguments do not match argumentsDigest: something on the way alters JSON"
        )


def _a(kind: type[T], document: Mapping[str, Any], name: str) -> T:
    value = document.get(name)
    if type(value) is not kind:
        raise UnexpectedResponse(f"{name} is {value!r:.80}, not {kind.__name__}: is this the address of Sagahold?")
    return value


def _maybe(kind: type[T], document: Mapping[str, Any], name: str) -> T | None:
    return None if document.get(name) is None else _a(kind, document, name)


def _choice(document: Mapping[str, Any], choices: Any, name: str = "status") -> Any:
    value = document.get(name)
    if value not in get_args(choices):
        raise UnexpectedResponse(f"{name} is {value!r:.80}, which this SDK does not know: upgrade it")
    return value
