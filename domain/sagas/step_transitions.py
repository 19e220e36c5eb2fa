"""The transitions of a step, and the effects of each command."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from domain.sagas.call_state import CallState
from domain.sagas.step import (
    OUTCOME_UNKNOWN,
    Begin,
    BeginUndo,
    Command,
    Compensated,
    Defer,
    Error,
    Expire,
    Fail,
    Hold,
    HoldAnswer,
    MarkOutcomeUnknown,
    Postpone,
    Repeat,
    Requeue,
    Rerun,
    Skip,
    Step,
    StepStatus,
    Succeed,
)
from domain.values.errors import WrongState

_S = StepStatus
# All transitions. No other is possible.
TRANSITIONS: Mapping[tuple[StepStatus, type], StepStatus] = MappingProxyType(
    {
        (_S.PENDING, Skip): _S.SKIPPED,
        (_S.PENDING, Defer): _S.PENDING,
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
        (_S.IN_PROGRESS, MarkOutcomeUnknown): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, Requeue): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, HoldAnswer): _S.AWAITING_HUMAN,
        (_S.IN_PROGRESS, Succeed): _S.COMPLETED,
        (_S.IN_PROGRESS, Fail): _S.FAILED,
        (_S.IN_PROGRESS, Expire): _S.TIMED_OUT,
        (_S.COMPLETED, BeginUndo): _S.COMPENSATING,
        (_S.FAILED, BeginUndo): _S.COMPENSATING,
        (_S.TIMED_OUT, BeginUndo): _S.COMPENSATING,
        (_S.COMPENSATING, Compensated): _S.COMPENSATED,
        # An undo is tried again after it failed.
        (_S.FAILED, Requeue): _S.PENDING,
        (_S.TIMED_OUT, Requeue): _S.PENDING,
    }
)
ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.TIMED_OUT, _S.SKIPPED, _S.COMPENSATED})


def change(step: Step, command: Command, now: datetime) -> Step:
    """Return the step after the command. Raises `WrongState` if there is no such transition."""
    target = TRANSITIONS.get((step.status, type(command)))
    if target is None:
        raise WrongState("STEP", step.status, f"the step {step.id!r} is {step.status}")
    ended = now if target in ENDED else None
    moved = replace(step, status=target, ended_at=ended)
    match command:
        case Skip():
            return replace(moved, error=None)
        case Defer():
            return replace(moved, error=command.error)
        case Hold():
            held = replace(moved, arguments=command.arguments, arguments_digest=command.digest, error=None)
            return replace(held, watch_id=command.watch_id, started_at=step.started_at or now)
        case HoldAnswer():
            return replace(moved, watch_id=command.watch_id, call=step.call.ended(command.acted))
        case Begin():
            begun = replace(moved, arguments=command.arguments, arguments_digest=command.digest, error=None)
            return replace(
                begun, started_at=step.started_at or now, attempt=step.attempt + 1, call=step.call.begun(command.acts)
            )
        case Repeat():
            return replace(moved, attempt=step.attempt + 1, error=None, call=step.call.begun(command.acts))
        case Postpone():
            return replace(moved, call=step.call if command.again else step.call.not_sent(), error=command.error)
        case Succeed():
            return replace(moved, output=command.output, proposal=None, error=None, call=CallState.CLOSED)
        case Fail():
            before = CallState.CLOSED if command.certain else step.call
            acted = command.acted or (step.status is StepStatus.AWAITING_HUMAN and step.call.may_have_acted)
            return replace(moved, error=command.error, call=before.ended(acted))
        case Expire():
            return replace(moved, error=command.error, call=step.call.ended(command.acted))
        case MarkOutcomeUnknown():
            details = None if command.answer is None else {"answer": command.answer}
            return replace(moved, error=Error(OUTCOME_UNKNOWN, command.message, details))
        case Rerun():
            return _asked_for(replace(moved, call=step.call.between()), command)
        case Requeue() if target is StepStatus.IN_PROGRESS:
            return replace(moved, error=None, call=step.call.wanted())
        case Requeue():
            return replace(moved, error=None, evidence=None, call=step.call.between())
    return moved


def _asked_for(step: Step, request: Rerun) -> Step:
    asked = replace(step, watch_id=None, revision=request.revision + 1, retries=step.retries + 1)
    return replace(asked, guidance=request.guidance, retry_token=request.token)
