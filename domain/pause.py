"""A pause: an action that is held until a person decides, its time runs out, or its creator cancels it.

    pending ── approve ──▶ approved      pending ── timeout ──▶ expired | rejected | approved (as `on_timeout` says)
    pending ── reject ───▶ rejected      pending ── cancel ───▶ cancelled

Everything but `pending` is final. `decide` is the only way out of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain import answer, json_value
from domain.errors import Fault, Invalid, RevisionChanged, SelfDecision
from domain.review import ONE_APPROVAL, Review

SYSTEM = "system"
# Kinds: what an agent holds by itself, and a saga's step.
AGENT, STEP = "agent", "step"


class Status(StrEnum):
    """`pending` is left by the first decision, timeout or cancel; no one leaves the others."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class OnTimeout(StrEnum):
    EXPIRE = "expire"
    REJECT = "reject"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted: `id` is what counts, `name` is for people to read."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Decision:
    outcome: Status
    by: Actor
    at: datetime
    comment: str | None = None
    response: Any = None


@dataclass(frozen=True, slots=True)
class Pause:
    id: UUID
    namespace: str
    action: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    kind: str = AGENT
    status: Status = Status.PENDING
    context: dict[str, Any] | None = None
    arguments: dict[str, Any] | None = None
    arguments_digest: bytes | None = None
    # Of a step: what edited arguments must fit.
    arguments_schema: dict[str, Any] | None = None
    revision: int = 1
    on_timeout: OnTimeout = OnTimeout.EXPIRE
    review: Review = ONE_APPROVAL
    response_schema: dict[str, Any] | None = None
    callback_url: str | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Approve:
    """`arguments`: what to execute instead. `revision`: the one that the approver has read."""

    by: Actor
    comment: str | None = None
    arguments: dict[str, Any] | None = None
    response: Any = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    by: Actor
    comment: str | None = None
    response: Any = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    by: Actor
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Timeout:
    """The clock passed `expires_at`."""


Command = Approve | Reject | Cancel | Timeout

# Every transition there is, by the state it starts from. Where a command is missing, the pause stays as it is.
TRANSITIONS: Mapping[tuple[Status, type], tuple[Status, ...]] = MappingProxyType(
    {
        (Status.PENDING, Approve): (Status.APPROVED,),
        (Status.PENDING, Reject): (Status.REJECTED,),
        (Status.PENDING, Cancel): (Status.CANCELLED,),
        (Status.PENDING, Timeout): (Status.EXPIRED, Status.REJECTED, Status.APPROVED),
    }
)
ON_TIMEOUT: Mapping[OnTimeout, Status] = MappingProxyType(
    {
        OnTimeout.EXPIRE: Status.EXPIRED,
        OnTimeout.REJECT: Status.REJECTED,
        OnTimeout.APPROVE: Status.APPROVED,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """A change that others are told of. `type` is the webhook's: `pause.approved`."""

    type: str
    pause: Pause
    at: datetime


def created(pause: Pause) -> Event:
    return Event("pause.created", pause, pause.created_at)


def decide(pause: Pause, command: Command, now: datetime) -> tuple[Pause, tuple[Event, ...]]:
    """Apply `command` to the pause at `now`; a pause that is already resolved comes back as it is.

    After `expires_at` only the timeout counts, whoever asks. Ask `honours` whether the command got its way.
    Raises `SelfDecision`, `RevisionChanged` or `Invalid` when the command may not be applied at all.
    """
    if isinstance(command, Approve | Reject) and command.by.id == pause.created_by:
        raise SelfDecision
    if (pause.status, type(command)) not in TRANSITIONS:
        return pause, ()
    if pause.expires_at is not None and pause.expires_at <= now:
        command = Timeout()
    elif isinstance(command, Timeout):
        return pause, ()
    resolved = _resolve(pause, command, now)
    return resolved, (Event(f"pause.{resolved.status}", resolved, now),)


def honours(pause: Pause, command: Command) -> bool:
    """True when the stored outcome of the pause is what the command asked for."""
    if isinstance(command, Timeout) or pause.decision is None:
        return True
    asked = {Approve: Status.APPROVED, Reject: Status.REJECTED, Cancel: Status.CANCELLED}[type(command)]
    if pause.status is not asked:
        return False
    if isinstance(command, Approve) and command.arguments is not None:
        return json_value.digest(command.arguments) == pause.arguments_digest
    if isinstance(command, Approve | Reject) and command.response is not None:
        # As JSON: for Python true is 1, for the one who answered it is not.
        return json_value.digest(command.response) == json_value.digest(pause.decision.response)
    return True


def _resolve(pause: Pause, command: Command, now: datetime) -> Pause:
    match command:
        case Approve():
            return _approve(pause, command, now)
        case Reject():
            _check_revision(pause, command.revision)
            _check_answer(pause, command.response, required=False)
            decision = Decision(Status.REJECTED, command.by, now, command.comment, command.response)
        case Cancel():
            decision = Decision(Status.CANCELLED, command.by, now, command.comment)
        case Timeout():
            decision = Decision(ON_TIMEOUT[pause.on_timeout], Actor(SYSTEM, SYSTEM), now)
    return replace(pause, status=decision.outcome, decision=decision)


def _approve(pause: Pause, command: Approve, now: datetime) -> Pause:
    _check_revision(pause, command.revision)
    _check_answer(pause, command.response, required=True)
    decision = Decision(Status.APPROVED, command.by, now, command.comment, command.response)
    approved = replace(pause, status=Status.APPROVED, decision=decision)
    if command.arguments is None:
        return approved
    if pause.arguments is None:
        raise Invalid([Fault("arguments", "cannot be edited: the agent posted none")])
    if pause.arguments_schema is not None:
        found = list(answer.value_faults(pause.arguments_schema, command.arguments, "arguments"))
        if found:
            raise Invalid(found)
    digest = json_value.digest(command.arguments)
    if digest == pause.arguments_digest:
        return approved
    return replace(approved, arguments=command.arguments, arguments_digest=digest, revision=pause.revision + 1)


def _check_revision(pause: Pause, revision: int | None) -> None:
    if revision is not None and revision != pause.revision:
        raise RevisionChanged


def _check_answer(pause: Pause, response: object, *, required: bool) -> None:
    if pause.response_schema is None:
        # Why a step is rejected goes into its error_details.
        if response is not None and (required or pause.kind != STEP):
            raise Invalid([Fault("response", "is not asked for: the pause has no responseSchema")])
    elif response is None and required:
        raise Invalid([Fault("response", "is required: the pause has a responseSchema")])
    elif response is not None and (found := list(answer.value_faults(pause.response_schema, response, "response"))):
        raise Invalid(found)
