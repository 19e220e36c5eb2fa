"""A saga: its states, its current step, and the effect of a step's end on the whole."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.sagas import step as steps
from domain.sagas.call_state import CallState
from domain.sagas.compensation import to_undo
from domain.sagas.step import BROKEN, Error, Step, StepStatus
from domain.sagas.step_transitions import change as moved
from domain.values.errors import WrongState


class SagaStatus(StrEnum):
    """The status of a saga, with the one who ends it.

    PENDING: accepted. A worker ends it.
    RUNNING: a step runs or is due. A worker ends it.
    AWAITING_HUMAN: a step is held. A reviewer ends it.
    COMPENSATING: its steps are being undone. A worker ends it, or an operator if an undo's outcome is unknown.
    COMPLETED, COMPENSATED: final.
    FAILED: final, unless an undo failed. Then an operator continues, or leaves it.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    AWAITING_HUMAN = "AWAITING_HUMAN"
    COMPENSATING = "COMPENSATING"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    FAILED = "FAILED"


_S = SagaStatus
# All transitions. No other is possible.
TRANSITIONS: Mapping[SagaStatus, frozenset[SagaStatus]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.RUNNING, _S.AWAITING_HUMAN, _S.COMPLETED, _S.COMPENSATING, _S.FAILED}),
        _S.RUNNING: frozenset({_S.AWAITING_HUMAN, _S.COMPLETED, _S.COMPENSATING, _S.FAILED}),
        _S.AWAITING_HUMAN: frozenset({_S.RUNNING, _S.COMPLETED, _S.COMPENSATING, _S.FAILED}),
        _S.COMPENSATING: frozenset({_S.COMPENSATED, _S.FAILED}),
        # After an undo failed: retry-compensation, or resolve if a person undid it by hand.
        _S.FAILED: frozenset({_S.COMPENSATING}),
        _S.COMPLETED: frozenset(),
        _S.COMPENSATED: frozenset(),
    }
)
TERMINAL = frozenset({_S.COMPLETED, _S.COMPENSATED, _S.FAILED})
FORWARD = frozenset({_S.PENDING, _S.RUNNING, _S.AWAITING_HUMAN})
_PASSED = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


@dataclass(frozen=True, slots=True)
class Saga:
    """
    Attributes:
        steps: in the order in which they run.
        undos: in the order in which they were planned, the last step's first.
        cancelled: the reason of its cancellation.
        stuck: why no worker can continue it, after some tries.
        unreadable: the fields of its rows that this version does not understand.
    """

    trace_id: UUID
    namespace: str
    status: SagaStatus
    input: dict[str, Any]
    steps: tuple[Step, ...]
    undos: tuple[Step, ...] = ()
    ended_at: datetime | None = None
    error: Error | None = None
    cancelled: str | None = None
    stuck: Error | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def current(self) -> Step | None:
        """The step or undo whose turn it is; None: nothing is left to do."""
        if self.status in FORWARD:
            return next((step for step in self.steps if step.status not in _PASSED), None)
        return next((undo for undo in self.undos if undo.status is not StepStatus.COMPLETED), None)

    @property
    def needs_operator(self) -> bool:
        """Whether an operator has to act.

        A call has an unknown outcome, or an undo failed and waits for a decision, or no worker can continue.
        """
        if self.stuck is not None:
            return True
        current = self.current
        if current is None:
            return False
        if self.status is SagaStatus.FAILED:
            return current.undo_failed and current.evidence is None
        return current.outcome_unknown

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps, then the undos, in the order of their rows."""
        return (*self.steps, *self.undos)

    def undone_by(self, undo: Step) -> Step:
        return next(step for step in self.steps if step.span_id == undo.compensates)

    def find(self, span_id: int) -> Step | None:
        return next((step for step in self.all_steps if step.span_id == span_id), None)


def context(saga: Saga) -> dict[str, Any]:
    """Return the context of bindings and expressions.

    It has every step from the start, empty until the step is done. An undo removes nothing.
    """
    return {
        "input": saga.input,
        "steps": {step.id: {"output": {"data": step.output}, "facts": _facts(step)} for step in saga.steps},
    }


def _facts(step: Step) -> dict[str, Any]:
    """Return the facts of a step, which are merged together with its output."""
    return {} if step.output is None else step.facts or {}


def with_step(saga: Saga, step: Step) -> Saga:
    """Return the saga with the new state of one of its steps or undos."""
    return replace(
        saga,
        steps=tuple(step if old.span_id == step.span_id else old for old in saga.steps),
        undos=tuple(step if old.span_id == step.span_id else old for old in saga.undos),
    )


def change_step(saga: Saga, step: Step, command: steps.Command, now: datetime) -> Saga:
    """Return the saga after the command to a step or undo. A move of an undo also moves the step that it undoes."""
    saga = with_step(saga, moved(step, command, now))
    if step.compensates is None:
        return saga
    forward = saga.undone_by(step)
    if isinstance(command, steps.Begin | steps.Succeed) and forward.status is not StepStatus.COMPENSATING:
        forward = moved(forward, steps.BeginUndo(), now)
    if isinstance(command, steps.Succeed):
        forward = moved(forward, steps.Compensated(), now)
    return with_step(saga, forward)


def settle(saga: Saga, undoable: Collection[str], new_span_id: Callable[[], int], now: datetime) -> Saga:
    """Return the saga after the changes of its steps: it continues, waits, begins to compensate, or ends.

    `undoable`: ids of the steps that have a compensation.
    """
    # A worker that gets here has continued it.
    saga = saga if saga.stuck is None else replace(saga, stuck=None)
    if saga.status in FORWARD:
        return _settle_forward(saga, undoable, new_span_id, now)
    if saga.status is SagaStatus.COMPENSATING:
        return _settle_undoing(saga, now)
    return saga


def _settle_forward(saga: Saga, undoable: Collection[str], new_span_id: Callable[[], int], now: datetime) -> Saga:
    current = saga.current
    if saga.cancelled is not None and current is not None and _may_be_cancelled(current):
        saga = with_step(saga, _cancelled(current, saga.cancelled, now))
        current = saga.current
    if saga.cancelled is not None and (current is None or current.status is StepStatus.PENDING):
        # Between two steps, or after the last, nothing failed. The completed steps are undone.
        return _give_up(saga, None, undoable, new_span_id, now)
    if current is None:
        return _to(saga, SagaStatus.COMPLETED, now)
    if current.status in BROKEN:
        return _give_up(saga, current, undoable, new_span_id, now)
    held = current.status is StepStatus.AWAITING_HUMAN
    if saga.status is SagaStatus.PENDING and all(step.status is StepStatus.PENDING for step in saga.steps):
        return saga
    return _to(saga, SagaStatus.AWAITING_HUMAN if held else SagaStatus.RUNNING, now)


def _may_be_cancelled(step: Step) -> bool:
    """Whether a cancellation can end the step now.

    The saga waits for a call in flight. A postponed or repeated call is not made any more, and an unknown outcome may
    be given up. A step that is to run again, and may have acted before, does not count as skipped.
    """
    if step.status is StepStatus.IN_PROGRESS:
        return step.outcome_unknown or not step.call.unanswered
    acted_before = step.status is StepStatus.PENDING and step.call is CallState.OPEN_BEFORE
    return step.status is StepStatus.AWAITING_HUMAN or acted_before


def _cancelled(step: Step, reason: str, now: datetime) -> Step:
    error = Error("CANCELLED", reason)
    if step.outcome_unknown or step.call.requeued:
        return moved(step, steps.Expire(error, acted=step.call.may_have_acted), now)
    return moved(step, steps.Fail(error), now)


def _give_up(
    saga: Saga, failed: Step | None, undoable: Collection[str], new_span_id: Callable[[], int], now: datetime
) -> Saga:
    """Skip the steps that have not run, and plan the undo of the others."""
    skipped = tuple(
        moved(step, steps.Skip(), now) if step.status is StepStatus.PENDING else step for step in saga.steps
    )
    undos = tuple(
        Step(new_span_id(), step.id, len(skipped) + place, compensates=step.span_id)
        for place, step in enumerate(to_undo(skipped, undoable))
    )
    error = failed.error if failed is not None else Error("CANCELLED", saga.cancelled or "")
    given_up = replace(saga, steps=skipped, undos=undos, error=error)
    return _to(given_up, SagaStatus.COMPENSATING if undos else SagaStatus.FAILED, now)


def _settle_undoing(saga: Saga, now: datetime) -> Saga:
    if any(undo.undo_failed for undo in saga.undos):
        return _to(saga, SagaStatus.FAILED, now)
    if any(undo.status is not StepStatus.COMPLETED for undo in saga.undos):
        return saga
    # A call with an unknown outcome and without an undo may have been carried out. That is not "compensated".
    known = not any(step.call.may_have_acted and step.status in BROKEN for step in saga.steps)
    return _to(saga, SagaStatus.COMPENSATED if known else SagaStatus.FAILED, now)


def resume_undoing(saga: Saga, now: datetime) -> Saga:
    """Return the saga with its failed undo to be tried again."""
    return _to(saga, SagaStatus.COMPENSATING, now)


def seen_to(saga: Saga, undo: Step, now: datetime, *, done: bool, output: Any) -> Saga:
    """Return the saga after an operator's statement about a failed undo, which is in its `evidence`.

    `done`: it was undone by hand, and the compensation continues. Otherwise it is not tried again.
    """
    if not done:
        return with_step(saga, undo)
    again = replace(moved(undo, steps.Requeue(), now), evidence=undo.evidence)
    return resume_undoing(change_step(saga, again, steps.Succeed(output), now), now)


def _to(saga: Saga, status: SagaStatus, now: datetime) -> Saga:
    if status is saga.status:
        return saga
    if status not in TRANSITIONS[saga.status]:
        raise WrongState("SAGA", saga.status, f"the saga is {saga.status}")
    return replace(saga, status=status, ended_at=now if status in TERMINAL else None)
