"""Rows whose work raises, each time: they are left alone for a while, so that they are in nobody's way, and an operator
is told.

A due row (a saga, a delivery, a notification) is tried a few times; then a saga waits for an operator, and the others
are given up as after their last attempt. What a sweep meets is tried for as long as it is there, less and less often.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, case, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.delivery.notification import NotificationStatus
from domain.sagas.serialization import saga_document, saga_event
from domain.sagas.step import STUCK, Error
from domain.values.errors import Refusal
from models.definitions import definitions
from models.leases import set_aside
from models.notifications import notifications
from models.sagas import sagas
from models.webhooks import webhook_deliveries
from services.kernel.connection_pool import DatabaseAway
from services.kernel.leases import NOTIFICATION, SAGA, TABLES, WEBHOOK
from services.kernel.unit_of_work import Store, Tx
from services.manifests.definitions import DefinitionGone
from services.notifications.operators import notify_operators
from services.sagas.repository import with_steps
from services.webhooks.endpoints import exhausted
from services.webhooks.outbox import Notice, tell

log = logging.getLogger(__name__)

# The kinds of sweeps.
EXPIRY, REMINDER = "expiry", "reminder"
# Of a due row, after each try but the last. While a new release is rolled out, its processes may have to come first.
WAITS = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=45))
# What a sweep meets: the first time, and at most.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60, 3_600
# Tries are counted anew after so long without one.
FORGOTTEN_AFTER = timedelta(hours=3)
# Beyond it they are not counted.
MOST_TRIES = 100


def failed(store: Store, kind: str, id_: UUID, error: Exception, token: UUID | None = None) -> None:
    """The work on a due row raised. `token`: of the lease, where it was claimed before that.

    A row that is another's by now is left alone.
    """
    table, reason = TABLES[kind], reason_of(error)
    with store.transaction() as tx:
        free = or_(table.c.leased_until.is_(None), table.c.leased_until < tx.now, table.c.lease_token == token)
        query = select(table.c.id).where(table.c.id == id_, table.c.due_at.is_not(None), free)
        if kind != SAGA:
            query = query.where(table.c.status == "pending")
        if tx.conn.execute(query.with_for_update()).one_or_none() is None:
            return
        tries = _count(tx, kind, id_, reason, lambda _: literal(timedelta(0)))
        if tries <= len(WAITS):
            at = tx.now + WAITS[tries - 1]
            _change(tx, table, id_, due_at=at, hint_at=at)
            return
        _GIVE_UP[kind](tx, id_, f"{reason} (tried {tries} times)")
    extra = {"kind": kind, "id": id_.hex, "reason": reason}
    log.error("work that failed each time is given up: an operator must look at it", extra=extra)


def postpone(store: Store, kind: str, id_: UUID, error: Exception) -> None:
    """A sweep cannot do what it has to do with this row: it leaves it alone for a while."""
    reason = reason_of(error)
    with store.transaction() as tx:
        tries = _count(tx, kind, id_, reason, _doubled)
    extra = {"kind": kind, "id": id_.hex, "reason": reason, "tries": tries}
    if isinstance(error, DatabaseAway):
        log.warning("a row is set aside for now", extra=extra)
    else:
        log.error("a row is set aside: an operator must look at it", exc_info=error, extra=extra)


def is_left_alone(tx: Tx, kind: str, id_: ColumnElement[UUID]) -> ColumnElement[bool]:
    return exists().where(set_aside.c.kind == kind, set_aside.c.id == id_, set_aside.c.until > tx.now)


def forget(tx: Tx, kind: str, id_: UUID) -> None:
    """Its tries are counted anew."""
    tx.conn.execute(delete(set_aside).where(set_aside.c.kind == kind, set_aside.c.id == id_))


def left_alone() -> Select[Any]:
    """How many rows are left alone now."""
    return select(func.count()).select_from(set_aside).where(set_aside.c.until > func.clock_timestamp())


def reason_of(error: Exception) -> str:
    """For operators. An error that nobody has foreseen may quote what somebody sent: its text stays in the log."""
    if isinstance(error, Refusal | DefinitionGone | DatabaseAway):
        return str(error)
    return f"internal error, see the worker's log: {type(error).__name__}"


def _count(
    tx: Tx, kind: str, id_: UUID, reason: str, wait: Callable[[ColumnElement[int]], ColumnElement[timedelta]]
) -> int:
    """How many times it has failed lately."""
    columns = set_aside.c
    lately = columns.failed_at > tx.now - FORGOTTEN_AFTER
    tries: ColumnElement[int] = case((lately, func.least(columns.tries + 1, MOST_TRIES)), else_=1)
    first = {"tries": 1, "until": tx.now + wait(literal(1))}
    again = {"tries": tries, "until": tx.now + wait(tries)}
    new = insert(set_aside).values(kind=kind, id=id_, reason=reason, failed_at=tx.now, **first)
    counted = new.on_conflict_do_update(
        index_elements=["kind", "id"], set_={"reason": reason, "failed_at": tx.now, **again}
    )
    return int(tx.conn.execute(counted.returning(columns.tries)).scalar_one())


def _doubled(tries: ColumnElement[int]) -> ColumnElement[timedelta]:
    seconds = func.least(FIRST_WAIT_SECONDS * func.power(2, tries - 1), LONGEST_WAIT_SECONDS)
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _change(tx: Tx, table: Table, id_: UUID, **changes: Any) -> None:
    freed = {"lease_token": None, "leased_until": None, **changes}
    tx.conn.execute(update(table).where(table.c.id == id_).values(freed))


def _give_up_delivery(tx: Tx, id_: UUID, reason: str) -> None:
    _change(tx, webhook_deliveries, id_, **exhausted(tx, reason))


def _give_up_notification(tx: Tx, id_: UUID, reason: str) -> None:
    ended = {"status": str(NotificationStatus.FAILED), "completed_at": tx.now, "last_error": reason}
    _change(tx, notifications, id_, **ended)


def _stop_saga(tx: Tx, id_: UUID, reason: str) -> None:
    """Without its steps or its manifest: perhaps it is just these that cannot be read."""
    error = Error(STUCK, reason).document()
    _change(tx, sagas, id_, stuck=error, needs_operator=True, due_at=None, hint_at=None)
    forget(tx, SAGA, id_)
    named = sagas.join(definitions, definitions.c.id == sagas.c.definition_id)
    query = select(sagas, definitions.c.name, definitions.c.version).select_from(named).where(sagas.c.id == id_)
    row = tx.conn.execute(query).mappings().one()
    found = saga_document(row)
    type_ = "saga.needs_operator"
    tx.record(None, row["namespace"], type_, id_.hex, reason=reason)
    data = {name: found[name] for name in ("trace_id", "namespace", "name", "version", "status", "error_details")}
    (stored,) = with_steps(tx.conn, [row])
    notify_operators(tx, replace(stored.saga, stuck=None), stored.saga)
    tell(tx, [Notice(type_, row["namespace"], lambda: saga_event(type_, tx.now, data))])


_GIVE_UP: dict[str, Callable[[Tx, UUID, str], None]] = {
    WEBHOOK: _give_up_delivery,
    NOTIFICATION: _give_up_notification,
    SAGA: _stop_saga,
}
