"""End the work on a due row that fails each time.

A saga, a delivery or a notification is tried a few times. Then a saga waits for an operator, and the others fail as
after their last attempt.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Table, literal, or_, select, update

from domain.delivery.notification import NotificationStatus
from domain.sagas.serialization import saga_document, saga_event
from domain.sagas.step import STUCK, Error
from models.definitions import definitions
from models.notifications import notifications
from models.sagas import sagas
from models.webhooks import webhook_deliveries
from services.kernel.leases import NOTIFICATION, SAGA, TABLES, WEBHOOK
from services.kernel.quarantine import count_failure, forget, reason_of
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.operators import notify_operators
from services.sagas.repository import with_steps
from services.webhooks.endpoints import exhausted
from services.webhooks.outbox import WebhookEvent, enqueue

log = logging.getLogger(__name__)

# The waits after each try but the last. During a rolling upgrade, only the new release may be able to read a row.
WAITS = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=45))


def failed(database: Database, kind: str, id_: UUID, error: Exception, token: UUID | None = None) -> None:
    """Count a failure of the work on a due row: postpone the row or, after the last try, give it up.

    `token`: of the lease, if the row was claimed. A row that another worker has claimed is left alone.
    """
    table, reason = TABLES[kind], reason_of(error)
    with database.transaction() as uow:
        free = or_(table.c.leased_until.is_(None), table.c.leased_until < uow.now, table.c.lease_token == token)
        query = select(table.c.id).where(table.c.id == id_, table.c.due_at.is_not(None), free)
        if kind != SAGA:
            query = query.where(table.c.status == "pending")
        if uow.conn.execute(query.with_for_update()).one_or_none() is None:
            return
        tries = count_failure(uow, kind, id_, reason, lambda _: literal(timedelta(0)))
        if tries <= len(WAITS):
            at = uow.now + WAITS[tries - 1]
            _change(uow, table, id_, due_at=at, hint_at=at)
            return
        _GIVE_UP[kind](uow, id_, f"{reason} (tried {tries} times)")
    extra = {"kind": kind, "id": id_.hex, "reason": reason}
    log.error("work that failed each time is given up: an operator must look at it", extra=extra)


def _change(uow: UnitOfWork, table: Table, id_: UUID, **changes: Any) -> None:
    freed = {"lease_token": None, "leased_until": None, **changes}
    uow.conn.execute(update(table).where(table.c.id == id_).values(freed))


def _give_up_delivery(uow: UnitOfWork, id_: UUID, reason: str) -> None:
    _change(uow, webhook_deliveries, id_, **exhausted(uow, reason))


def _give_up_notification(uow: UnitOfWork, id_: UUID, reason: str) -> None:
    ended = {"status": str(NotificationStatus.FAILED), "completed_at": uow.now, "last_error": reason}
    _change(uow, notifications, id_, **ended)


def stop_saga(uow: UnitOfWork, id_: UUID, reason: str) -> None:
    """Stop a saga without reading its steps or manifest, which may be what fails."""
    error = Error(STUCK, reason).document()
    _change(uow, sagas, id_, stuck=error, needs_operator=True, due_at=None, hint_at=None)
    forget(uow, SAGA, id_)
    named = sagas.join(definitions, definitions.c.id == sagas.c.definition_id)
    query = select(sagas, definitions.c.name, definitions.c.version).select_from(named).where(sagas.c.id == id_)
    row = uow.conn.execute(query).mappings().one()
    found = saga_document(row)
    type_ = "saga.needs_operator"
    uow.record(None, row["namespace"], type_, id_.hex, reason=reason)
    data = {name: found[name] for name in ("trace_id", "namespace", "name", "version", "status", "error_details")}
    (record,) = with_steps(uow.conn, [row])
    notify_operators(uow, replace(record.saga, stuck=None), record.saga)
    enqueue(uow, [WebhookEvent(type_, row["namespace"], lambda: saga_event(type_, uow.now, data))])


_GIVE_UP: dict[str, Callable[[UnitOfWork, UUID, str], None]] = {
    WEBHOOK: _give_up_delivery,
    NOTIFICATION: _give_up_notification,
    SAGA: stop_saga,
}
