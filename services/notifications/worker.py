"""The worker's side of notifications: claim one that is due, and record the result of sending it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Table, select, update

from domain.delivery.notification import (
    EMAIL,
    NotificationContent,
    NotificationStatus,
    OperatorNotificationContent,
    Reason,
    SendResult,
    retry_at,
)
from domain.identity.access import ALL_NAMESPACES
from domain.pauses.pause import OnTimeout, Status
from domain.values import ids
from models.definitions import definitions
from models.notifications import notifications
from models.pauses import pauses
from models.people import groups, users
from models.sagas import saga_of, saga_steps, sagas
from services.identity.display_names import names_in
from services.identity.sign_in_links import make_link
from services.kernel import leases
from services.kernel.leases import NOTIFICATION
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.operators import may_recover, operator_content

log = logging.getLogger(__name__)

# How long a review link works if the review itself does not expire.
LINK_LASTS = timedelta(days=14)
# How many others a finished notification wakes. They may have found no free place before.
_NEXT = 2


@dataclass(frozen=True, slots=True)
class NotificationJob:
    """A claimed notification. `recipient`: a person's mail address, or the name of a group."""

    lease: leases.Lease
    recipient: str
    channel: str
    content: NotificationContent | OperatorNotificationContent


def claim_notification(
    database: Database, id_: UUID, may_take: Callable[[str], bool] = lambda _: True
) -> NotificationJob | None:
    """Claim a notification. Return None if it is not due, done, leased or obsolete; the latter is recorded.

    `may_take`: whether this worker has room for a notification of that namespace.
    """
    with database.transaction() as uow:
        waits = select(notifications.c.namespace).where(notifications.c.id == id_, leases.claimable(notifications))
        namespace = uow.conn.execute(waits).scalar_one_or_none()
        found = leases.claim_row(uow, NOTIFICATION, id_) if namespace is not None and may_take(namespace) else None
        if found is None:
            return None
        lease, row = found
        content = _about_a_review(database, uow, row) if row["saga_id"] is None else _about_a_saga(database, uow, row)
        if isinstance(content, str):
            _end(uow, lease, NotificationStatus.OBSOLETE, last_error=content)
            return None
        return NotificationJob(lease, row["recipient"], row["channel"], content)


def record_sending(database: Database, lease: leases.Lease, sending: SendResult, uniform: float) -> bool:
    """Record the result. Return False, and drop it, if another worker has taken over in the meantime.

    `uniform`: a random number from 0 to 1, for the jitter.
    """
    with database.transaction() as uow:
        held = notifications.c.id == lease.id, notifications.c.lease_token == lease.token
        row = uow.conn.execute(select(notifications).where(*held).with_for_update()).mappings().one_or_none()
        if row is None:
            log.warning("dropped the result of a superseded notification", extra={"notification_id": lease.id.hex})
            return False
        attempts = row["attempts"] + 1
        wait = None if sending.error is None else retry_at(attempts, sending, uniform)
        if sending.error is None:
            _end(uow, lease, NotificationStatus.SENT, attempts=attempts, last_error=None)
        elif wait is None:
            _end(uow, lease, NotificationStatus.FAILED, attempts=attempts, last_error=sending.error)
            extra = {"notification_id": ids.text(ids.NOTIFICATION, lease.id), "error": sending.error}
            log.error("a notification failed for good: an operator must look at its channel", extra=extra)
        else:
            at = uow.now + timedelta(seconds=wait)
            _change(uow, lease, due_at=at, hint_at=at, attempts=attempts, last_error=sending.error)
        leases.wake_first(uow, NOTIFICATION, _NEXT)
    return True


def sweep_notifications(database: Database, *, spare_leased: bool = False) -> int:
    """Wake notifications that were overlooked; return how many."""
    with database.transaction() as uow:
        found = leases.overlooked_ids(uow, NOTIFICATION, spare_leased=spare_leased)
        return len(leases.wake_again(uow, NOTIFICATION, found))


# Why a notification is obsolete.
_REVIEW_OVER = "the review was over before this was sent"
_NOT_NEEDED = "the saga needed no operator any more before this was sent"
_GONE = "the channel or its owner was removed before this was sent"


def _about_a_review(database: Database, uow: UnitOfWork, row: RowMapping) -> NotificationContent | str:
    """Return the content, or why the notification is obsolete."""
    pause = uow.conn.execute(select(pauses).where(pauses.c.id == row["pause_id"])).mappings().one()
    if pause["status"] != Status.PENDING or (pause["expires_at"] is not None and pause["expires_at"] <= uow.now):
        return _REVIEW_OVER
    return _content(database, uow, row, pause) if _listens(uow, row) else _GONE


def _about_a_saga(database: Database, uow: UnitOfWork, row: RowMapping) -> OperatorNotificationContent | str:
    """Return the content, or why the notification is obsolete."""
    found = uow.conn.execute(select(sagas).where(sagas.c.id == row["saga_id"])).mappings().one()
    steps = select(saga_steps).where(saga_steps.c.saga_id == found["id"]).order_by(saga_steps.c.place)
    saga = saga_of(found, uow.conn.execute(steps).mappings().all())
    # The manifest is not read, because it may be what cannot be decoded.
    named = select(definitions.c.name, definitions.c.version).where(definitions.c.id == found["definition_id"])
    content = operator_content(database, row, saga, " ".join(uow.conn.execute(named).one()))
    if content is None:
        return _NOT_NEEDED
    return content if _listens(uow, row, *may_recover(users.c, row["namespace"])) else _GONE


def _listens(uow: UnitOfWork, row: RowMapping, *able: ColumnElement[bool]) -> bool:
    """Return whether the recipient still has the channel. `able`: further conditions on a person."""
    if row["user_id"] is None:
        listens = select(groups.c.name).where(groups.c.name == row["recipient"], _has(groups, row))
    else:
        listens = select(users.c.id).where(*_still_told(row), *able, _has(users, row))
    return uow.conn.execute(listens).one_or_none() is not None


def _still_told(row: RowMapping) -> list[ColumnElement[bool]]:
    """Return conditions: the person is active and sees the namespace. Mail also requires the same address.

    A mail has a link by which one can vote.
    """
    sees = users.c.namespaces.overlap([row["namespace"], ALL_NAMESPACES])
    found = [users.c.id == row["user_id"], users.c.disabled_at.is_(None), sees]
    return [*found, users.c.email == row["recipient"]] if row["channel"] == EMAIL else found


def _has(table: Table, row: RowMapping) -> ColumnElement[bool]:
    return table.c.channels.contains([row["channel"]])


def _content(database: Database, uow: UnitOfWork, row: RowMapping, pause: RowMapping) -> NotificationContent:
    if row["user_id"] is None:
        path = f"review/{ids.text(ids.WATCH, row['pause_id'])}"
    else:
        until = uow.now + LINK_LASTS
        # A pause that escalates at its expiry stays open.
        ends_at = None if pause["on_timeout"] == OnTimeout.ESCALATE else pause["expires_at"]
        expires_at = until if ends_at is None else min(until, ends_at)
        path = f"r/{make_link(uow, row['user_id'], expires_at, row['pause_id'])}"
    return NotificationContent(
        reason=Reason(row["reason"]),
        action=pause["action"],
        namespace=pause["namespace"],
        asked_by=names_in(uow.conn, [pause["created_by"]])[pause["created_by"]],
        expires_at=pause["expires_at"],
        link=f"{database.public_url}/{path}",
        personal=row["user_id"] is not None,
    )


def _end(uow: UnitOfWork, lease: leases.Lease, status: NotificationStatus, **changes: Any) -> None:
    _change(uow, lease, status=str(status), completed_at=uow.now, **changes)


def _change(uow: UnitOfWork, lease: leases.Lease, **changes: Any) -> None:
    freed = {"lease_token": None, "leased_until": None, **changes}
    uow.conn.execute(update(notifications).where(notifications.c.id == lease.id).values(freed))
