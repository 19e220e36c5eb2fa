"""The use of approvals by the engine: a held step consumes its approval when it goes on, and reports its outcome.

Both are recorded in the transaction that changes the step. That transaction has locked the saga, and locks approved
pauses only. Other requests lock a pause before its saga, but only a pending one.
"""

from contextlib import suppress
from uuid import UUID

from domain.pauses.consumption import MAX_NOTE, ExecutionReport, ExecutionStatus
from domain.pauses.execution import consume, report
from domain.sagas.saga import Saga
from domain.sagas.serialization import idempotency_key
from domain.sagas.step import TOOL_OUTPUT_ERROR, Step, StepStatus
from domain.values.errors import ExecutionConflict
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.execution import store_execution
from services.pauses.repository import approved_pause

# In any other state after its review, the step did not use its approval.
_USED = frozenset({StepStatus.IN_PROGRESS, StepStatus.COMPLETED, StepStatus.COMPENSATING, StepStatus.COMPENSATED})


def use_approvals(database: Database, uow: UnitOfWork, before: Saga, after: Saga) -> None:
    """Record the uses of approvals and the outcomes that the changes of the saga's steps bring."""
    held = {step.span_id: step for step in before.all_steps if step.watch_id is not None}
    for step in after.all_steps:
        earlier = held.get(step.span_id)
        if earlier is not None and step.watch_id is not None and earlier.watch_id == step.watch_id:
            _record(database, uow, after, earlier, step, step.watch_id)


def _record(database: Database, uow: UnitOfWork, saga: Saga, earlier: Step, step: Step, watch_id: UUID) -> None:
    uses = earlier.status is StepStatus.AWAITING_HUMAN and step.status in _USED
    status = _outcome(step) if uses or earlier.status is StepStatus.IN_PROGRESS else None
    if not uses and (status is None or earlier.outcome_unknown is step.outcome_unknown is True):
        return
    pause = approved_pause(uow, watch_id)
    # A step that began under an older release has not used its approval.
    if pause is None or not (uses or pause.consumption):
        return
    # The use of an approval must never stop a saga.
    with suppress(ExecutionConflict):
        if uses:
            used, events = consume(pause, idempotency_key(saga, step), None, uow.now)
            store_execution(database, uow, None, pause, used, events)
            pause = used
        if status is not None:
            reported, events = report(pause, ExecutionReport(status, uow.now, _note(step)), settles=True)
            store_execution(database, uow, None, pause, reported, events)


def _outcome(step: Step) -> ExecutionStatus | None:
    """Return the outcome of the step's approved action; None while it is under way."""
    if step.outcome_unknown:
        return ExecutionStatus.UNKNOWN
    if step.status in (StepStatus.IN_PROGRESS, StepStatus.PENDING, StepStatus.AWAITING_HUMAN):
        return None
    if step.error is None or step.error.code == TOOL_OUTPUT_ERROR:
        return ExecutionStatus.SUCCEEDED
    return ExecutionStatus.UNKNOWN if step.call.may_have_acted else ExecutionStatus.FAILED


def _note(step: Step) -> str | None:
    if step.error is None:
        return step.evidence and step.evidence[:MAX_NOTE]
    return f"{step.error.code}: {step.error.message}"[:MAX_NOTE]
