"""The worker's side of sagas: claim a due saga, do what needs no waiting, and return the next work.

One transaction claims and plans, up to work, a held step or the end. The tool is called, or the model requested,
without an open transaction. The next one records the outcome, guarded by the lease, and plans further. A result that
arrives after the lease was lost is dropped.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.sagas import step as steps
from domain.sagas.call_state import CallState
from domain.sagas.outcome import Done, Failed, NotSent, Outcome, ToolFound
from domain.sagas.reasoning import ModelResult
from domain.sagas.saga import FORWARD
from domain.sagas.step import StepStatus
from models.sagas import sagas
from services.kernel import leases
from services.kernel.leases import SAGA, Lease
from services.kernel.unit_of_work import Database
from services.sagas.execution import SagaExecution
from services.sagas.repository import (
    keep_transcript,
)
from services.sagas.turns import Turn
from services.sagas.work import ROOM_FOR_ALL, Capacity, ModelRequest, ToolCall, ToolLookup, Work

log = logging.getLogger(__name__)


def advance(trace_id: UUID, room: Capacity = ROOM_FOR_ALL) -> Turn:
    """Claim the saga and advance it until it has to wait."""
    return Turn(trace_id, None, lambda execution: execution.go_on(room))


def record(
    call: ToolCall, outcome: Outcome, report: dict[str, Any], uniform: float, room: Capacity = ROOM_FOR_ALL
) -> Turn:
    """Record the outcome of the call, and go on. Nothing happens if another worker has taken over.

    Args:
        report: the public report of the execution.
        uniform: a random number from 0 to 1, for the jitter of a postponement.
    """

    def act(execution: SagaExecution) -> Work | None:
        step = execution.step(call.span_id)
        if step.status is not StepStatus.IN_PROGRESS:
            return execution.recorded_before()
        if isinstance(outcome, Done):
            execution.change(replace(step, report=report), steps.Succeed(outcome.data))
        elif not execution.broke_off(replace(step, report=report), outcome, call.again, uniform):
            return None
        return execution.go_on(room)

    return Turn(call.lease.id, call.lease, act, call.idempotency_key)


def record_model_result(ask: ModelRequest, result: ModelResult, report: dict[str, Any], uniform: float) -> Turn:
    """Record the model result. The saga continues in another task. `report`, `uniform`: as in `record`."""

    def act(execution: SagaExecution) -> None:
        step = replace(execution.step(ask.span_id), report=report)
        if result.report.harmless:
            step = replace(step, call=CallState.CLOSED)
        if ask.reasoning.keep_transcript:
            keep_transcript(execution.uow, ask.lease.id, step, result.report.transcript)
        if isinstance(result.outcome, Done):
            execution.answered(step, result)
        elif not execution.broke_off(step, result.outcome, ask.again, uniform):
            return
        execution.hand_on()

    return Turn(ask.lease.id, ask.lease, act, ask.idempotency_key)


def record_look_up(
    work: ToolLookup, found: ToolFound | Failed | NotSent, uniform: float, room: Capacity = ROOM_FOR_ALL
) -> Turn:
    """Record a tool look-up, as `record` does. The step is held, unless its call would be invalid."""

    def act(execution: SagaExecution) -> Work | None:
        step = execution.step(work.span_id)
        if step.status is not StepStatus.PENDING:
            return execution.recorded_before()
        if isinstance(found, ToolFound):
            return execution.go_on(room, found.schema)
        if execution.saga.cancelled is None:
            if isinstance(found, NotSent) and execution.deferred(step, found.error, uniform):
                return None
            execution.change(step, steps.Fail(found.error))
        return execution.go_on(room)

    return Turn(work.lease.id, work.lease, act, work.idempotency_key)


def given_up(database: Database, leases: Collection[Lease]) -> set[UUID]:
    """Return the tokens of leases whose saga was cancelled, or has been claimed again by any worker."""
    ids = {lease.id for lease in leases}
    query = select(sagas.c.id, sagas.c.lease_token, sagas.c.status, sagas.c.cancelled).where(sagas.c.id.in_(ids))
    with database.reading() as conn:
        rows = conn.execute(query).all()
    # The compensation after a cancellation continues.
    cancelled = {row.id for row in rows if row.cancelled is not None and row.status in FORWARD}
    holders = {row.id: row.lease_token for row in rows}
    return {each.token for each in leases if each.id in cancelled or each.token != holders.get(each.id, each.token)}


def sweep_sagas(database: Database, *, spare_leased: bool = False) -> int:
    """Wake up missed sagas again, and those whose worker died (`spare_leased`: not these)."""
    with database.transaction() as uow:
        return len(leases.wake_again(uow, SAGA, leases.overlooked_ids(uow, SAGA, spare_leased=spare_leased)))
