"""One step of a saga: its states, what moves it from one to another, and nothing else.

An undo is a step too: a row of its own, which names the step that it undoes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.errors import WrongState


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
    """Why a step failed. `code` is stable (SPEC 5.3); `details` may hold what a reviewer gave as reason."""

    code: str
    message: str
    details: Any = None

    def document(self) -> dict[str, Any]:
        more = {} if self.details is None else {"details": self.details}
        return {"code": self.code, "message": self.message, **more}


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
        evidence: what an operator says who settled an unknown outcome.
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
    evidence: str | None = None

    @property
    def outcome_unknown(self) -> bool:
        """An operator has to settle it."""
        return self.status is StepStatus.IN_PROGRESS and self.error is not None and self.error.code == OUTCOME_UNKNOWN


OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
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
    """The tool is about to be called, or the model to be asked."""

    arguments: dict[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """The tool is about to be called again, with the same arguments and the same idempotency key."""


@dataclass(frozen=True, slots=True)
class Postpone:
    """Certainly nothing was sent; it is tried again later.

    Attributes:
        again: this time; of an earlier call nobody knows.
    """

    again: bool = False


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
class LoseTrack:
    """The answer to a call was lost, and the tool may not be asked twice: an operator has to say what happened."""

    message: str


@dataclass(frozen=True, slots=True)
class Rerun:
    """A reviewer wants it run and reviewed again. `token`: the caller's own name for this wish."""

    guidance: str | None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Requeue:
    """An operator wants a stuck execution repeated, or an undo tried again."""


@dataclass(frozen=True, slots=True)
class BeginUndo:
    """Its undo runs."""


@dataclass(frozen=True, slots=True)
class Undone:
    """Its undo is done."""


Command = (
    Skip
    | Hold
    | HoldAnswer
    | Begin
    | Repeat
    | Postpone
    | Succeed
    | Fail
    | Expire
    | LoseTrack
    | Rerun
    | Requeue
    | BeginUndo
    | Undone
)

_S = StepStatus
# Every transition there is. What is not here cannot happen.
TRANSITIONS: Mapping[tuple[StepStatus, type], StepStatus] = MappingProxyType(
    {
        (_S.PENDING, Skip): _S.SKIPPED,
        (_S.PENDING, Hold): _S.AWAITING_HUMAN,
        (_S.PENDING, Begin): _S.IN_PROGRESS,
        (_S.PENDING, Succeed): _S.COMPLETED,
        (_S.PENDING, Fail): _S.FAILED,
        (_S.AWAITING_HUMAN, Begin): _S.IN_PROGRESS,
        (_S.AWAITING_HUMAN, Succeed): _S.COMPLETED,
        (_S.AWAITING_HUMAN, Fail): _S.FAILED,
        (_S.AWAITING_HUMAN, Rerun): _S.PENDING,
        (_S.IN_PROGRESS, Repeat): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, Postpone): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, LoseTrack): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, Requeue): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, HoldAnswer): _S.AWAITING_HUMAN,
        (_S.IN_PROGRESS, Succeed): _S.COMPLETED,
        (_S.IN_PROGRESS, Fail): _S.FAILED,
        (_S.IN_PROGRESS, Expire): _S.TIMED_OUT,
        (_S.COMPLETED, BeginUndo): _S.COMPENSATING,
        (_S.FAILED, BeginUndo): _S.COMPENSATING,
        (_S.TIMED_OUT, BeginUndo): _S.COMPENSATING,
        (_S.COMPENSATING, Undone): _S.COMPENSATED,
        # Of an undo: tried again after it failed.
        (_S.FAILED, Requeue): _S.PENDING,
        (_S.TIMED_OUT, Requeue): _S.PENDING,
    }
)
# It did not do what it should; an undo that came to this stops the undoing.
BROKEN = frozenset({_S.FAILED, _S.TIMED_OUT})
ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.TIMED_OUT, _S.SKIPPED, _S.COMPENSATED})


def change(step: Step, command: Command, now: datetime) -> Step:
    """The step after the command. Raises `WrongState` where there is no such transition."""
    target = TRANSITIONS.get((step.status, type(command)))
    if target is None:
        raise WrongState("STEP", step.status, f"the step {step.id!r} is {step.status}")
    ended = now if target in ENDED else None
    moved = replace(step, status=target, ended_at=ended)
    match command:
        case Hold():
            held = replace(moved, arguments=command.arguments, arguments_digest=command.digest)
            return replace(held, watch_id=command.watch_id, started_at=step.started_at or now)
        case HoldAnswer():
            return replace(moved, watch_id=command.watch_id, call_began=command.acted or step.unsure)
        case Begin():
            begun = replace(moved, arguments=command.arguments, arguments_digest=command.digest, error=None)
            return replace(begun, started_at=step.started_at or now, attempt=step.attempt + 1, call_began=True)
        case Repeat():
            again = replace(moved, attempt=step.attempt + 1, error=None, may_repeat=False)
            return replace(again, call_began=True, unsure=step.unsure or step.call_began)
        case Postpone():
            return replace(moved, call_began=command.again)
        case Succeed():
            return replace(moved, output=command.output, error=None, call_began=False, unsure=False)
        case Fail():
            unsure = step.unsure and not command.certain
            acted = command.acted or (step.status is StepStatus.AWAITING_HUMAN and step.call_began)
            return replace(moved, error=command.error, call_began=acted or unsure, unsure=unsure)
        case Expire():
            return replace(moved, error=command.error, call_began=command.acted or step.unsure)
        case LoseTrack():
            return replace(moved, error=Error(OUTCOME_UNKNOWN, command.message))
        case Rerun():
            asked = replace(moved, retries=step.retries + 1, guidance=command.guidance, retry_token=command.token)
            return replace(asked, watch_id=None, call_began=False, unsure=step.unsure or step.call_began)
        case Requeue() if target is StepStatus.IN_PROGRESS:
            return replace(moved, error=None, may_repeat=True)
        case Requeue():
            return replace(moved, error=None, call_began=False, unsure=step.unsure or step.call_began)
    return moved
