"""One step of a saga: its states, and what can be done with it.

An undo is a step too: a row of its own, which names the step that it undoes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class StepStatus(StrEnum):
    """What each means, and who ends it.

    PENDING: its turn has not come; a worker.
    IN_PROGRESS: a worker runs it, or (with `OUTCOME_UNKNOWN` in its error) an operator has to say what came of it.
    AWAITING_HUMAN: held for review; a reviewer, or the hold's deadline.
    COMPLETED: done; undone when a later step fails.
    FAILED, TIMED_OUT: not done, or nobody knows whether; undone where that is unknown.
    SKIPPED: never ran. For good.
    COMPENSATING: its undo runs; the undo's end.
    COMPENSATED: undone. For good.
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
    """Why a step failed. `code` is stable (docs/sagas.md), but for a reviewer's own; `more`: what else they gave."""

    code: str
    message: str
    details: Any = None
    more: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        details = {} if self.details is None else {"details": self.details}
        return {"code": self.code, "message": self.message, **details, **(self.more or {})}


def error_of(document: Mapping[str, Any]) -> Error:
    """The error that has this document."""
    more = {name: value for name, value in document.items() if name not in _OF_ERROR}
    # What a newer release has written may lack either.
    code, message = document.get("code", "UNKNOWN"), document.get("message", "(not understood)")
    return Error(code, message, document.get("details"), more or None)


def rejection(given: Any, comment: str | None, by: str) -> Error:
    """Of a step that a reviewer has rejected: what they gave as its error is its error. Only a missing code and message
    are filled in; what cannot be one of these stands under `details`."""
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
        id: as the manifest calls it; an undo has that of the step it undoes.
        compensates: span id of the step that this one undoes.
        attempt: executions begun.
        arguments: as resolved from the context, or as a reviewer changed them.
        arguments_digest: SHA-256 of what was approved, or of what was resolved where nobody has to approve.
        proposal: what a model answered, as long as it is not merged; on a re-run the model is shown it.
        facts: taken from the tools' own answers to a model.
        report: how the execution went: times, and what a model used. As the outside is told it.
        call_began: a call may have reached the tool, and no answer is known; or a model has called tools that may act.
        unsure: such a call was repeated: even where the last one failed, an earlier one may have been carried out.
        may_repeat: an operator wants the call repeated, whatever the earlier one has done.
        retries: re-runs that reviewers asked for.
        guidance: of the last such request. retry_token: its name, so that it is not counted twice.
        revision: of what is held next: a decision on what was held before must not fit it.
        evidence: what an operator says who settled an unknown outcome, or saw to a failed undo.
        correction: of an undo whose arguments an operator has replaced: by whom, when, why, and what they were.
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
    call_began: bool = False
    unsure: bool = False
    may_repeat: bool = False
    watch_id: UUID | None = None
    retries: int = 0
    guidance: str | None = None
    retry_token: str | None = None
    revision: int = 1
    evidence: str | None = None
    correction: dict[str, Any] | None = None

    @property
    def outcome_unknown(self) -> bool:
        """An operator has to settle it."""
        return self.status is StepStatus.IN_PROGRESS and self.error is not None and self.error.code == OUTCOME_UNKNOWN

    @property
    def undo_failed(self) -> bool:
        """An operator has to see to it, as far as nobody has."""
        return self.compensates is not None and self.status in BROKEN


def known_as(step: Step) -> frozenset[StepStatus]:
    """Its status, and the one that others give it: for them the undo is what is COMPENSATED, and the undone step stays
    as it was before."""
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
# It did not do what it should; an undo that came to this stops the undoing.
BROKEN = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT})
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
# Of a saga: no worker can go on with it.
STUCK = "STUCK"
# The tool has done its work, and its answer is of no use.
TOOL_OUTPUT_ERROR = "TOOL_OUTPUT_ERROR"


@dataclass(frozen=True, slots=True)
class Skip:
    """It is not to run: its `when` says no, or its saga has ended."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A person has to look at it first, under this pause."""

    watch_id: UUID
    arguments: dict[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class HoldAnswer:
    """A person has to look at the model's answer first, under this pause.

    Attributes:
        acted: a tool that the model called may have changed something.
    """

    watch_id: UUID
    acted: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """The tool is about to be called, or the model to be asked.

    Attributes:
        acts: something may be changed by it: only of a model without tools that is certainly not so.
    """

    arguments: dict[str, Any]
    digest: bytes
    acts: bool = True


@dataclass(frozen=True, slots=True)
class Repeat:
    """The tool is about to be called again, with the same arguments and the same idempotency key; or the model to be
    asked again. `acts`: as in `Begin`."""

    acts: bool = True


@dataclass(frozen=True, slots=True)
class Postpone:
    """Certainly nothing was sent; it is tried again later.

    Attributes:
        again: this time; of an earlier call nobody knows.
        error: why, for whoever looks meanwhile.
    """

    again: bool = False
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Defer:
    """Its tool's server is away, and without it the step cannot be held; it is looked up again later.

    Attributes:
        error: why. Its `details` count the tries.
    """

    error: Error


@dataclass(frozen=True, slots=True)
class Succeed:
    output: Any


@dataclass(frozen=True, slots=True)
class Fail:
    """It did nothing, or the tool itself said that it failed.

    Attributes:
        certain: also nothing of an earlier call whose answer was lost: somebody has looked.
        acted: it has done its work all the same: only its answer is of no use.
    """

    error: Error
    certain: bool = False
    acted: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """Its deadline passed.

    Attributes:
        acted: during a call: nobody knows what the tool has done.
    """

    error: Error
    acted: bool = True


@dataclass(frozen=True, slots=True)
class MarkOutcomeUnknown:
    """The answer to a call was lost, and the tool may not be asked twice: an operator has to say what happened.

    Attributes:
        answer: what came instead of an answer that can be read.
    """

    message: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Rerun:
    """A reviewer wants it run and reviewed again.

    Attributes:
        token: the caller's own name for this wish.
        revision: of what was held until now.
    """

    guidance: str | None
    token: str | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Requeue:
    """An operator wants a stuck execution repeated, or an undo tried again."""


@dataclass(frozen=True, slots=True)
class BeginUndo:
    """Its undo runs."""


@dataclass(frozen=True, slots=True)
class Compensated:
    """Its undo is done."""


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
