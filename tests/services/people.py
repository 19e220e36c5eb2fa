"""People and groups with channels, and their notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from domain.delivery.notification import Reason
from domain.pauses.votes import Vote
from models.notifications import notifications as notification_rows
from models.people import groups, users
from services.kernel.leases import due_now
from services.kernel.unit_of_work import Database
from services.notifications.recipients import notify
from services.notifications.worker import NotificationJob, claim_notification
from tests.services.world import change, rows, uuid_of


@dataclass(frozen=True)
class Asks:
    """A pause, as far as its people are concerned."""

    id: UUID
    namespace: str = "default"
    created_by: str = "key_agent"
    eligible: Sequence[str] | None = None
    stage: int = 0
    revision: int = 1
    reminders: int = 0
    votes: Sequence[Vote] = ()


def person(database: Database, name: str, *channels: str, away: bool = False, **more: Any) -> UUID:
    """`anne` is anne@example.com."""
    with database.transaction() as uow:
        id_ = uow.new_id()
        row = {
            "id": id_,
            "created_at": uow.now,
            "email": f"{name}@example.com",
            "name": name.title(),
            "role": "reviewer",
            "namespaces": ["default"],
            "groups": [],
            "channels": list(channels),
            "created_by": "key_admin",
            "away_until": uow.now + timedelta(hours=1) if away else None,
            **more,
        }
        uow.conn.execute(insert(users).values(row))
    return id_


def group(database: Database, name: str, *channels: str) -> None:
    with database.transaction() as uow:
        row = {"name": name, "channels": list(channels), "created_at": uow.now, "created_by": "key_admin"}
        uow.conn.execute(insert(groups).values(row))


def tell(database: Database, watch_id: str, reason: str = "waiting", **asks: Any) -> list[tuple[str, str]]:
    """Who has a notification now: recipient and channel."""
    with database.transaction() as uow:
        notify(uow, Asks(uuid_of(watch_id), **asks), Reason(reason))
    return told(database)


def untold(database: Database, watch_id: str, name: str, namespace: str) -> None:
    """Store a failed notification to `name`, who does not see the namespace of the review."""
    user_id = person(database, name, "json://u:secret@127.0.0.1:1/secret", namespaces=["elsewhere"])
    with database.transaction() as uow:
        row = {
            "id": uow.new_id(),
            "pause_id": uuid_of(watch_id),
            "once": uow.new_id(),
            "user_id": user_id,
            "namespace": namespace,
            "recipient": f"{name}@example.com",
            "channel": "json://u:secret@127.0.0.1:1/secret",
            "reason": "waiting",
            "status": "failed",
            "attempts": 6,
            "last_error": "the service answered 404",
            "created_at": uow.now,
            "completed_at": uow.now,
            **due_now(uow),
        }
        uow.conn.execute(insert(notification_rows).values(row))


def told(database: Database) -> list[tuple[str, str]]:
    return sorted((row["recipient"], row["channel"]) for row in notifications(database))


def notifications(database: Database) -> list[dict[str, Any]]:
    return rows(database, "SELECT * FROM notifications ORDER BY id")


def job(database: Database) -> NotificationJob:
    """Claims the only notification; raises when it cannot be."""
    (row,) = notifications(database)
    claimed = claim_notification(database, row["id"])
    assert claimed is not None
    return claimed


def notifications_due(database: Database) -> None:
    change(database, "UPDATE notifications SET due_at = now(), hint_at = now() WHERE status = 'pending'")
