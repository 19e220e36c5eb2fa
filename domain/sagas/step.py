"""A step of a saga: its states, and the commands for it.

An undo is a step too. It has its own row, which names the step that it undoes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.sagas.call_state import CallState


class StepStatus(StrEnum):
    """The status of a step, with the one who ends it.

    PENDING: its turn has not come. A worker ends it.
    IN_PROGRESS: a worker runs it and ends it. With `OUTCOME_UNKNOWN` in its error, an operator decides its outcome.
    AWAITING_HUMAN: held for review. A reviewer ends it, or the pause's deadline.
    COMPLETED: done. It is undone when a later step fails.
    FAILED, TIMED_OUT: not done, or unknown. It is undone if it is unknown.
    SKIPPED: never ran. This is final.
    COMPENSATING: its undo runs, and ends it.
    COMPENSATED: undone. This is final.
    """

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    AWAITING_HUMAN = "AWAITING_HUMAN"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"


@dataclass(frozen=True, slots=True)
class Error:
    """The error of a step. `code` is stable (docs/sagas.md), except a reviewer's own. `more`: its other fields."""

    code: str
    message: str
    details: Any = None
    more: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        details = {} if self.details is None else {"details": self.details}
        return {"code": self.code, "message": self.message, **details, **(self.more or {})}


def error_of(document: Mapping[str, Any]) -> Error:
    """Return the error that has this document."""
    more = {name: value for name, value in document.items() if name not in _OF_ERROR}
    # A newer release may have written either in another way.
    code, message = document.get("code", "UNKNOWN"), document.get("message", "(not understood)")
    return Error(code, message, document.get("details"), more or None)


def rejection(given: Any, comment: str | None, by: str) -> Error:
    """Return the error of a rejected step, as the reviewer gave it. Only a missing code and message are filled in.

    A value that cannot be a code or a message is kept under `details`.
    """
    if not isinstance(given, Mapping):
        said = given if isinstance(given, str) and given.strip() else None
        return Error(HUMAN_REJECTED, said or comment or f"rejected by {by}", given if said is None else None)
    texts = {name: given[name] for name in ("code", "message", "reason") if _is_said(given.get(name))}
    message = texts.get("message") or comment or texts.get("reason") or f"rejected by {by}"
    odd = {name: given[name] for name in ("code", "message") if name in given and name not in texts}
    return error_of(
        {**({"details": odd} if odd else {}), **given, "code": texts.get("code", HUMAN_REJECTED), "message": message}
    )


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


HUMAN_REJECTED = "HUMAN_REJECTED"
_OF_ERROR = frozenset({"code", "message", "details"})


@dataclass(frozen=True, slots=True)
class Step:
    """
    Attributes:
        id: its name in the manifest. An undo has that of the step that it undoes.
        compensates: span id of the step that this one undoes.
        attempt: executions begun.
        arguments: as resolved from the context, or as a reviewer edited them.
        arguments_digest: SHA-256 of the approved arguments, or of the resolved ones if no approval is needed.
        proposal: a model's answer before it is merged. A re-run shows it to the model.
        facts: from the tools' own answers to a model.
        report: the public report of the execution, with times and a model's usage.
        call: the state of its calls, as far as it is known.
        retries: the re-runs that reviewers requested.
        guidance: that of the last such request.
        retry_token: the name of that request, so that it is not counted twice.
        revision: that of the next pause. A decision on an earlier pause must not fit it.
        evidence: the statement of the operator who decided an unknown outcome, or handled a failed undo.
        correction: the operator's replacement of an undo's arguments, with its author, time, reason and old values.
    """

    span_id: int
    id: str
    order: int
    status: StepStatus = StepStatus.PENDING
    compensates: int | None = None
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    arguments: dict[str, Any] | None = None
    arguments_digest: bytes | None = None
    output: Any = None
    proposal: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    error: Error | None = None
    call: CallState = CallState.CLOSED
    watch_id: UUID | None = None
    retries: int = 0
    guidance: str | None = None
    retry_token: str | None = None
    revision: int = 1
    evidence: str | None = None
    correction: dict[str, Any] | None = None

    @property
    def outcome_unknown(self) -> bool:
        """Whether an operator has to decide its outcome."""
        return self.status is StepStatus.IN_PROGRESS and self.error is not None and self.error.code == OUTCOME_UNKNOWN

    @property
    def undo_failed(self) -> bool:
        """Whether it is an undo that failed, which an operator has to handle."""
        return self.compensates is not None and self.status in BROKEN


def known_as(step: Step) -> frozenset[StepStatus]:
    """Return its status, and the one that other systems give it.

    There the undo is COMPENSATED, and the undone step keeps its earlier status.
    """
    if step.compensates is not None:
        return frozenset({step.status, _OF_UNDO.get(step.status, step.status)})
    if step.status in (StepStatus.COMPENSATING, StepStatus.COMPENSATED) and step.error is None:
        return frozenset({step.status, StepStatus.COMPLETED})
    return frozenset({step.status})


_OF_UNDO = {
    StepStatus.PENDING: StepStatus.COMPENSATING,
    StepStatus.IN_PROGRESS: StepStatus.COMPENSATING,
    StepStatus.COMPLETED: StepStatus.COMPENSATED,
}
# It did not do its work. An undo in such a status stops the compensation.
BROKEN = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT})
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
# The error code of a saga that no worker can continue.
STUCK = "STUCK"
# The tool has done its work, but its answer cannot be used.
TOOL_OUTPUT_ERROR = "TOOL_OUTPUT_ERROR"


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not run it: its `when` is false, or its saga has ended."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold the step: a person reviews it first, in this pause."""

    watch_id: UUID
    arguments: dict[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class HoldAnswer:
    """Hold the model's answer: a person reviews it first, in this pause.

    Attributes:
        acted: a tool that the model called may have changed something.
    """

    watch_id: UUID
    acted: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin the tool call or the model request.

    Attributes:
        acts: it may change something. Only a model without tools certainly does not.
    """

    arguments: dict[str, Any]
    digest: bytes
    acts: bool = True


@dataclass(frozen=True, slots=True)
class Repeat:
    """Repeat the tool call, with the same arguments and idempotency key; or repeat the model request.

    `acts`: as in `Begin`.
    """

    acts: bool = True


@dataclass(frozen=True, slots=True)
class Postpone:
    """Try it again later, as certainly nothing was sent.

    Attributes:
        again: nothing was sent this time, but the outcome of an earlier call is unknown.
        error: the reason, for a person who looks at the step meanwhile.
    """

    again: bool = False
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Defer:
    """Look up its tool again later. The tool's server is away, and without it the step cannot be held.

    Attributes:
        error: the reason. Its `details` count the tries.
    """

    error: Error


@dataclass(frozen=True, slots=True)
class Succeed:
    output: Any


@dataclass(frozen=True, slots=True)
class Fail:
    """End the step: it did nothing, or the tool itself said that it failed.

    Attributes:
        certain: a person has checked that an earlier call with a lost answer did nothing either.
        acted: it has done its work, but its answer cannot be used.
    """

    error: Error
    certain: bool = False
    acted: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """End the step at its deadline.

    Attributes:
        acted: the deadline passed during a call, so its outcome is unknown.
    """

    error: Error
    acted: bool = True


@dataclass(frozen=True, slots=True)
class MarkOutcomeUnknown:
    """Ask an operator for the outcome: the answer of a call was lost, and the call may not be repeated.

    Attributes:
        answer: the unreadable text that arrived instead of an answer.
    """

    message: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Rerun:
    """Run and review it again, as a reviewer requested.

    Attributes:
        token: the caller's name for this request.
        revision: that of the pause until now.
    """

    guidance: str | None
    token: str | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Requeue:
    """Repeat a stuck execution, or a failed undo, as an operator requested."""


@dataclass(frozen=True, slots=True)
class BeginUndo:
    """Note that its undo runs."""


@dataclass(frozen=True, slots=True)
class Compensated:
    """Note that its undo is done."""


Command = (
    Skip
    | Hold
    | HoldAnswer
    | Begin
    | Repeat
    | Postpone
    | Defer
    | Succeed
    | Fail
    | Expire
    | MarkOutcomeUnknown
    | Rerun
    | Requeue
    | BeginUndo
    | Compensated
)
