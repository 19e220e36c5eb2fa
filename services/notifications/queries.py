"""An operator's use cases for notifications: list, send again."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, func, literal_column, select, update

from domain.delivery.notification import NotificationStatus, masked
from domain.identity.access import Principal
from domain.pauses.pause import Status
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.errors import Conflict, NotFound
from models.notifications import notifications
from models.pauses import pauses
from models.sagas import sagas
from services.kernel.leases import NOTIFICATION, due_now
from services.kernel.pagination import Listing, Page, Slice, in_namespaces, list_page
from services.kernel.tenancy import seen_namespaces, sees, within
from services.kernel.unit_of_work import Database, WakeUp


@dataclass(frozen=True, slots=True)
class NotificationFilter:
    status: NotificationStatus | None = None
    namespace: str | None = None
    watch_id: str | None = None
    trace_id: UUID | None = None
    recipient: str | None = None


class NotificationEnded(Conflict):
    """Only a failed or waiting notification can be sent again, and only while its review or saga waits."""

    code = "NOTIFICATION_ENDED"


# A condition on a notification joined with its pause and saga: one of them still waits for a person.
STILL_WAITS = func.coalesce(pauses.c.status == str(Status.PENDING), sagas.c.needs_operator)


def list_notifications(
    database: Database, by: Principal, wanted: NotificationFilter, page: Page
) -> Slice[dict[str, Any]]:
    """List notifications, the newest first."""
    columns, namespaces = notifications.c, seen_namespaces(by, wanted.namespace)
    filters, bounds = _conditions(wanted), []
    branches = in_namespaces(notifications, namespaces)
    if wanted.watch_id is not None or wanted.trace_id is not None:
        about = columns.pause_id == ids.parse(ids.WATCH, wanted.watch_id or "")
        branches = [about if wanted.trace_id is None else columns.saga_id == wanted.trace_id]
        bounds, filters = [*within(notifications, namespaces), *filters], []
    elif wanted.status in (NotificationStatus.PENDING, NotificationStatus.FAILED):
        # The partial index has the namespace of each row. A literal, because it serves only known values.
        branches = [columns.status == literal_column(f"'{wanted.status}'")]
        bounds, filters = within(notifications, namespaces), _conditions(replace(wanted, status=None))
    listing = Listing(select(notifications), (columns.id,), branches, bounds, filters)
    return list_page(database, listing, page, _document)


def retry_notification(database: Database, by: Principal, notification_id: str) -> dict[str, Any]:
    """Send a failed or waiting notification now, with the whole retry schedule."""
    id_ = ids.parse(ids.NOTIFICATION, notification_id)
    query = (
        select(notifications, STILL_WAITS.label("waits"))
        .outerjoin(pauses, pauses.c.id == notifications.c.pause_id)
        .outerjoin(sagas, sagas.c.id == notifications.c.saga_id)
        .where(notifications.c.id == id_, sees(by, notifications))
        .with_for_update(of=notifications)
    )
    with database.transaction() as uow:
        row = uow.conn.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no notification {notification_id[:64]!r} that this key may see")
        if row["status"] not in ("pending", "failed") or not row["waits"]:
            raise NotificationEnded
        if row["lease_token"] is not None:
            return _document(row)
        again = {"status": str(NotificationStatus.PENDING), "attempts": 0, "completed_at": None, **due_now(uow)}
        changed = update(notifications).where(notifications.c.id == id_).values(again).returning(notifications)
        after = _document(uow.conn.execute(changed).mappings().one())
        uow.record(by, row["namespace"], "notification.retried", after["id"], before=_document(row), after=after)
        uow.wakeups.append(WakeUp(NOTIFICATION, row["id"]))
        return after


def _conditions(wanted: NotificationFilter) -> list[ColumnElement[bool]]:
    columns = notifications.c
    conditions = []
    if wanted.status is not None:
        conditions.append(columns.status == wanted.status)
    if wanted.watch_id is not None:
        conditions.append(columns.pause_id == ids.parse(ids.WATCH, wanted.watch_id))
    if wanted.trace_id is not None:
        conditions.append(columns.saga_id == wanted.trace_id)
    if wanted.recipient is not None:
        conditions.append(columns.recipient == wanted.recipient)
    return conditions


def _document(row: RowMapping) -> dict[str, Any]:
    pending = row["status"] == NotificationStatus.PENDING
    return {
        "id": ids.text(ids.NOTIFICATION, row["id"]),
        "watch_id": None if row["pause_id"] is None else ids.text(ids.WATCH, row["pause_id"]),
        "trace_id": None if row["saga_id"] is None else row["saga_id"].hex,
        "namespace": row["namespace"],
        "recipient": row["recipient"],
        "channel": masked(row["channel"]),
        "reason": row["reason"],
        "status": row["status"],
        "attempts": row["attempts"],
        "last_error": row["last_error"],
        "created_at": instant(row["created_at"]),
        "next_attempt_at": instant(row["due_at"]) if pending else None,
        "completed_at": instant_or_none(row["completed_at"]),
    }
