"""Turns of sagas. Those that come together share a transaction: its locks, its reads, its writes and its commit."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg2
from sqlalchemy.exc import DBAPIError

from domain.sagas.saga import Saga
from domain.sagas.step import StepStatus
from services.kernel.group_commit import Aside
from services.kernel.leases import SAGA, Lease, new_lease
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.repository import lock_approved
from services.sagas.execution import SagaExecution
from services.sagas.repository import lock_claimable, lock_rows, with_steps
from services.sagas.work import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """One saga's turn: an outcome to record, or a wake-up, and all that follows until the saga has to wait.

    Attributes:
        lease: of the work whose outcome is recorded. None: the saga is claimed first.
        act: advances the saga. It returns the next work for this worker.
        name: the work, in the log.
    """

    trace_id: UUID
    lease: Lease | None
    act: Callable[[SagaExecution], Work | None]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """The end of a turn. `work` is the next work for this worker, or None if it has nothing left to do."""

    work: Work | None = None


def take_turns(database: Database, wanted: Callable[[], Sequence[Turn]]) -> list[Taken | Exception]:
    """Take the turns that are there once the transaction is open, all in this one transaction.

    Return one result per turn, in order. Several wait for no lock, and nothing of a turn that fails or would have to
    wait is stored: its result is `Aside`. A turn that is alone waits, and raises.
    """
    with database.transaction() as uow:
        turns = wanted()
        alone = len(turns) == 1
        outcomes: list[Taken | Exception] = []
        for turn, execution in zip(turns, _executions(database, uow, turns, wait=alone), strict=True):
            if not isinstance(execution, SagaExecution):
                outcomes.append(execution)
                continue
            mark = uow.mark()
            try:
                outcomes.append(Taken(turn.act(execution.prepared())))
            except Exception as error:
                # After an error of the database, nothing else can be done in the transaction.
                if alone or isinstance(error, DBAPIError | psycopg2.Error) or not uow.forget_since(mark):
                    raise
                outcomes.append(Aside())
    return outcomes


def _executions(
    database: Database, uow: UnitOfWork, turns: Sequence[Turn], *, wait: bool
) -> list[SagaExecution | Taken | Aside]:
    """Lock the sagas of the turns, their approved pauses, and load their steps, each by one statement."""
    claimed = lock_claimable(uow, [turn.trace_id for turn in turns if turn.lease is None])
    leased = [turn.trace_id for turn in turns if turn.lease is not None]
    held = lock_rows(uow, leased, wait=wait)
    records = {record.saga.trace_id: record for record in with_steps(uow.lookups, [*claimed.values(), *held.values()])}
    asked = {watch_id: id_ for id_, record in records.items() for watch_id in _used(record.saga)}
    locked = {asked[watch_id] for watch_id in lock_approved(uow, list(asked), wait=wait)}
    found: list[SagaExecution | Taken | Aside] = []
    seen: set[UUID] = set()
    for turn in turns:
        id_, lease, row = turn.trace_id, turn.lease, (claimed if turn.lease is None else held).get(turn.trace_id)
        if row is None or (lease is not None and row["lease_token"] != lease.token):
            found.append(_not_ours(turn, gone=wait or row is not None))
        elif id_ in locked or id_ in seen:
            found.append(Aside())
        elif lease is None:
            waited = uow.now - row["due_at"]
            found.append(SagaExecution(database, uow, new_lease(uow, SAGA, id_), records[id_], waited))
        else:
            found.append(SagaExecution(database, uow, lease, records[id_]))
        seen.add(id_)
    return found


def _used(saga: Saga) -> Iterator[UUID]:
    """Yield the pauses whose approval the saga uses, or has used, by its next change."""
    for step in saga.all_steps:
        if step.watch_id is not None and step.status in (StepStatus.AWAITING_HUMAN, StepStatus.IN_PROGRESS):
            yield step.watch_id


def _not_ours(turn: Turn, *, gone: bool) -> Taken | Aside:
    """Return the result of a turn without a saga. `gone`: it is certain that there is none."""
    if turn.lease is None:
        return Taken()
    if not gone:
        return Aside()
    log.warning("dropped the result of superseded work", extra={"idempotency_key": turn.name})
    return Taken()
