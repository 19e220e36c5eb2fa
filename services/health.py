"""What an operator asks first: is the database there and migrated, are workers seen, what is waiting."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import ProgrammingError

from models.due import worker_heartbeats
from models.pauses import pauses
from models.webhooks import webhook_deliveries, webhook_endpoints
from services.database import DatabaseAway
from services.transaction import Store

# Every worker that consumes sweeps is seen about once a second; this is a stall, not a hiccup.
WORKER_SEEN_WITHIN = timedelta(seconds=15)
# SQLSTATE: nothing was ever migrated here.
NO_SUCH_TABLE = "42P01"


@dataclass(frozen=True, slots=True)
class Readiness:
    database: bool
    migrated: bool
    workers: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """`overdue_seconds`: how long the oldest due row has been waiting."""

    pending_pauses: int
    pending_deliveries: int
    overdue_seconds: float
    exhausted_deliveries: int
    disabled_endpoints: int
    workers: int


def readiness(store: Store, revision: str) -> Readiness:
    """`revision`: the migration that this code was written for; they are numbered, and a later one serves it too."""
    try:
        with store.reading() as conn:
            applied = conn.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            if not applied or max(applied) < revision:
                return Readiness(True, False, 0)
            return Readiness(True, True, conn.execute(_workers()).scalar_one())
    except DatabaseAway:
        return Readiness(False, False, 0)
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != NO_SUCH_TABLE:
            raise
        return Readiness(True, False, 0)


def backlog(store: Store) -> Backlog:
    deliveries = webhook_deliveries.c
    pending = deliveries.status == "pending"
    overdue = func.extract("epoch", func.clock_timestamp() - func.min(deliveries.due_at))
    with store.reading() as conn:
        return Backlog(
            conn.execute(select(func.count()).where(pauses.c.status == "pending")).scalar_one(),
            conn.execute(select(func.count()).where(pending)).scalar_one(),
            max(0.0, float(conn.execute(select(overdue).where(pending)).scalar_one() or 0)),
            conn.execute(select(func.count()).where(deliveries.status == "exhausted")).scalar_one(),
            conn.execute(select(func.count()).where(webhook_endpoints.c.disabled_reason.is_not(None))).scalar_one(),
            conn.execute(_workers()).scalar_one(),
        )


def _workers() -> Select[int]:
    seen = worker_heartbeats.c.seen_at > func.clock_timestamp() - WORKER_SEEN_WITHIN
    return select(func.count()).where(seen)
