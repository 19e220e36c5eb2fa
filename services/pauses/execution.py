"""The use of an approval: consume it once, record the outcome, and notice that the outcome is missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, bindparam, select, update

from domain.identity.access import Principal
from domain.log.audit_facts import changed_facts
from domain.pauses import execution
from domain.pauses.consumption import ExecutionReport, ExecutionStatus
from domain.pauses.pause import STEP, Event, Pause, Status
from domain.pauses.serialization import RenderedEvent, pause_document
from domain.values.errors import ExecutionConflict, Forbidden
from models.pauses import EXECUTION_COLUMNS, pause_of, pauses, values
from services.kernel.quarantine import OUTCOME
from services.kernel.sweeps import sweep_pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.lifecycle import actor, lock_pause
from services.webhooks.outbox import announce

# One transaction reports at most this many missing outcomes, so that it holds their locks for well under a second.
MISSING_BATCH = 100


@dataclass(frozen=True, slots=True)
class Execution:
    """The document of the pause. `repeated`: an earlier request had the same effect."""

    document: dict[str, Any]
    repeated: bool


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """An agent's report of the outcome of the approved action."""

    status: ExecutionStatus
    note: str | None = None
    result: Any = None


def door_key(door: str) -> str:
    """Return the key by which a door and its callbacks use an approval, so that both get the same answer."""
    return f"door-{door}"


def consume_pause(
    database: Database, by: Principal, id_: UUID, key: str, digest: str | None = None, *, only_valid: bool = False
) -> Execution:
    """Use the approval once.

    Args:
        key: identifies the use; its repetition gets the same answer.
        digest: the digest of the arguments that the caller is about to execute, in hex.
        only_valid: refuse a repetition after the validity too.

    Raises:
        NotFound, Forbidden, NotApproved, AlreadyConsumed, ApprovalExpired, ArgumentsChanged.
    """
    with database.transaction() as uow, _own(database, uow, by, id_) as pause:
        consumed, events = execution.consume(pause, key, digest, uow.now, only_valid=only_valid)
        return Execution(store_execution(database, uow, by, pause, consumed, events), repeated=not events)


def report_outcome(database: Database, by: Principal, id_: UUID, outcome: OutcomeReport) -> Execution:
    """Record the outcome of the approved action. Raise `NotFound`, `Forbidden`, `NotConsumed` or `OutcomeConflict`."""
    with database.transaction() as uow, _own(database, uow, by, id_) as pause:
        told = ExecutionReport(outcome.status, uow.now, outcome.note, outcome.result)
        reported, events = execution.report(pause, told)
        return Execution(store_execution(database, uow, by, pause, reported, events), repeated=not events)


def settle_outcome(database: Database, by: Principal, id_: UUID, status: ExecutionStatus, note: str) -> Execution:
    """Record what an operator found out about a missing or unknown outcome.

    Raises:
        NotFound, Forbidden, NotConsumed, OutcomeConflict.
    """
    with database.transaction() as uow:
        pause = lock_pause(uow, by, id_)
        if pause.kind == STEP:
            raise Forbidden("this pause holds a step of a saga: `resolve` the step, or use the page of the saga")
        with _telling_state(database, pause):
            settled, events = execution.settle(pause, ExecutionReport(status, uow.now, note, by=actor(by)))
        return Execution(store_execution(database, uow, by, pause, settled, events), repeated=not events)


def sweep_missing_outcomes(database: Database) -> int:
    """Report one batch of missing outcomes and return how many. Skip rows that another sweep has locked."""
    due = select(pauses).order_by(pauses.c.outcome_due_at)

    def chosen(uow: UnitOfWork) -> Select[Any]:
        # A value, because PostgreSQL does not use the index for a volatile function such as clock_timestamp().
        return due.where(pauses.c.outcome_due_at <= uow.now)

    def miss(uow: UnitOfWork, row: RowMapping) -> None:
        pause = pause_of(row)
        store_execution(database, uow, None, pause, *execution.miss_outcome(pause, uow.now))

    return sweep_pauses(database, OUTCOME, chosen, MISSING_BATCH, miss)


def store_execution(
    database: Database, uow: UnitOfWork, by: Principal | None, before: Pause, after: Pause, events: Sequence[Event]
) -> dict[str, Any]:
    """Store `after`, which is the locked `before` after the events; return its document. `by`: None is the system."""
    document = pause_document(after, database.public_url)
    if not events:
        return document
    row = values(after)
    details: dict[str, Any] = {"revision": after.revision}
    if after.arguments_digest is not None:
        details["arguments_digest"] = after.arguments_digest.hex()
    if after.consumption is not None and (report := after.consumption.report) is not None:
        details |= {"execution": str(report.status), "note": report.note}
    details["row"] = changed_facts(values(before), row)
    earlier = pause_document(before, database.public_url)
    # An unknown outcome has two events, and is one change.
    uow.record(by, after.namespace, events[0].type, document["watchId"], before=earlier, after=document, **details)
    changes = {f"new_{name}": row[name] for name in EXECUTION_COLUMNS}
    announce(uow, [RenderedEvent(event, document) for event in events], _CHANGE, changes | {"pause_id": after.id})
    return document


@contextmanager
def _own(database: Database, uow: UnitOfWork, by: Principal, id_: UUID) -> Iterator[Pause]:
    """Yield the caller's own pause, locked."""
    pause = lock_pause(uow, by, id_)
    if pause.kind == STEP:
        raise Forbidden("this pause holds a step of a saga, and the saga itself uses the approval")
    if pause.created_by != by.id:
        raise Forbidden("only the key that created the pause may use its approval and report the outcome")
    with _telling_state(database, pause):
        yield pause


@contextmanager
def _telling_state(database: Database, pause: Pause) -> Iterator[None]:
    """Add the document of the pause to a conflict in the block."""
    try:
        yield
    except ExecutionConflict as conflict:
        conflict.current = pause_document(pause, database.public_url)
        raise


# Built once: building a statement takes longer than running it.
_CHANGE = (
    update(pauses)
    .where(pauses.c.id == bindparam("pause_id"), pauses.c.status == Status.APPROVED.value)
    .values({name: bindparam(f"new_{name}", type_=pauses.c[name].type) for name in EXECUTION_COLUMNS})
)
