"""Health: whether the database is available and migrated, whether workers run, and how much work waits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, text, true
from sqlalchemy.exc import ProgrammingError

from domain.identity.access import Principal
from domain.log.audit_chain import OVERDUE
from models.leases import worker_heartbeats
from models.notifications import notifications
from models.pauses import pauses
from models.sagas import sagas
from models.webhooks import webhook_deliveries, webhook_endpoints
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import BEAT
from services.kernel.quarantine import count_set_aside
from services.kernel.tenancy import manages, sees
from services.kernel.unit_of_work import Database
from services.notifications.queries import STILL_WAITS
from services.webhooks.failing_receivers import count_failing

# A worker is stamped every few seconds and beat every second, so this is several intervals.
WORKER_SEEN_WITHIN = timedelta(seconds=15)
# The SQLSTATE of a database that was never migrated.
NO_SUCH_TABLE = "42P01"


# The default is read, because this transaction itself is read-only. On a standby the default may be on as well.
_MODE = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE current_setting('default_transaction_read_only') END"
)
_READ_ONLY = {
    "off": None,
    "on": "it is set to read-only (default_transaction_read_only)",
    "standby": "it is in recovery, as a standby is (a fail-over may be under way)",
}


# The entries of all chains. The lowest id is the oldest entry, give or take the length of a commit.
_UNLINKED_SECONDS = text("""
SELECT coalesce(extract(epoch FROM clock_timestamp() - (
    SELECT added_at FROM audit_unlinked ORDER BY id LIMIT 1
)), 0)
""")


@dataclass(frozen=True, slots=True)
class Readiness:
    """The readiness of the installation.

    Attributes:
        beat: whether a worker recently ran a sweep that beat asked for.
        read_only: why the database takes no changes, or None.
        linked: whether no entry of the audit log has waited too long to be linked.
    """

    database: bool
    migrated: bool
    workers: int
    beat: bool
    read_only: str | None = None
    linked: bool = True


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work that waits.

    Attributes:
        overdue_seconds: how long the row that has been due longest has waited, of any kind.
        due_sagas: sagas that a worker has to continue, or is executing.
        set_aside: rows whose work raised, and that sweeps leave alone for a while.
        unlinked_seconds: the age of the oldest entry of the audit log that is not linked into its chain, or 0.
    """

    pending_pauses: int
    pending_deliveries: int
    overdue_seconds: float
    exhausted_deliveries: int
    disabled_endpoints: int
    due_sagas: int
    sagas_needing_operator: int
    pending_notifications: int
    failed_notifications: int
    workers: int
    set_aside: int = 0
    failing_receivers: int = 0
    unlinked_seconds: float = 0.0


def readiness(database: Database, revision: str) -> Readiness:
    """Check the database and the workers. `revision`: the newest migration of this code; a later one is compatible."""
    try:
        with database.reading() as conn:
            read_only = _READ_ONLY[conn.execute(_MODE).scalar_one()]
            applied = conn.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            if not applied or max(applied) < revision:
                return Readiness(True, False, 0, False, read_only)
            seen = set(conn.execute(select(worker_heartbeats.c.worker).where(_seen())).scalars())
            linked = conn.execute(_UNLINKED_SECONDS).scalar_one() < OVERDUE
            return Readiness(True, True, len(seen - {BEAT}), BEAT in seen, read_only, linked)
    except DatabaseUnavailable:
        return Readiness(False, False, 0, False)
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != NO_SUCH_TABLE:
            raise
        return Readiness(True, False, 0, False)


def anybody_works(database: Database) -> bool:
    """Return whether a worker was seen lately."""
    with database.reading() as conn:
        return conn.execute(_workers()).scalar_one() > 0


def backlog(database: Database, by: Principal | None = None) -> Backlog:
    """Count the work that the caller sees; None sees all."""
    deliveries = webhook_deliveries.c
    seen = {table: true() if by is None else sees(by, table) for table in (pauses, webhook_deliveries, notifications)}
    pending = and_(deliveries.status == "pending", seen[webhook_deliveries])
    own_sagas = true() if by is None else sees(by, sagas)
    own_endpoints = true() if by is None else manages(by, webhook_endpoints)
    due, waiting = and_(sagas.c.due_at.is_not(None), own_sagas), sagas.c.lease_token.is_(None)
    unsent = and_(notifications.c.status == "pending", seen[notifications])
    disabled = and_(webhook_endpoints.c.disabled_reason.is_not(None), own_endpoints)
    exhausted = and_(deliveries.status == "exhausted", seen[webhook_deliveries])
    undecided = and_(pauses.c.status == "pending", seen[pauses])
    with database.reading() as conn:
        return Backlog(
            conn.execute(select(func.count()).where(undecided)).scalar_one(),
            conn.execute(select(func.count()).where(pending)).scalar_one(),
            max(
                _overdue(conn, deliveries.due_at, pending),
                _overdue(conn, sagas.c.due_at, due, waiting),
                _overdue(conn, notifications.c.due_at, unsent),
                *(_overdue(conn, at, undecided) for at in (pauses.c.expires_at, pauses.c.attend_at)),
            ),
            conn.execute(select(func.count()).where(exhausted)).scalar_one(),
            conn.execute(select(func.count()).where(disabled)).scalar_one(),
            conn.execute(select(func.count()).where(due)).scalar_one(),
            conn.execute(select(func.count()).where(sagas.c.needs_operator, own_sagas)).scalar_one(),
            conn.execute(select(func.count()).where(unsent)).scalar_one(),
            conn.execute(_failed_notifications().where(seen[notifications])).scalar_one(),
            conn.execute(_workers()).scalar_one(),
            conn.execute(count_set_aside()).scalar_one(),
            conn.execute(count_failing(by)).scalar_one(),
            float(conn.execute(_UNLINKED_SECONDS).scalar_one()),
        )


def _overdue(conn: Connection, due_at: ColumnElement[datetime], *conditions: ColumnElement[bool]) -> float:
    age = func.extract("epoch", func.clock_timestamp() - func.min(due_at))
    return max(0.0, float(conn.execute(select(age).where(*conditions)).scalar_one() or 0))


def _failed_notifications() -> Select[int]:
    """Select failed notifications about pauses and sagas that still wait. The others no longer matter."""
    about = notifications.outerjoin(pauses, pauses.c.id == notifications.c.pause_id)
    about = about.outerjoin(sagas, sagas.c.id == notifications.c.saga_id)
    return select(func.count()).select_from(about).where(notifications.c.status == "failed", STILL_WAITS)


def _workers() -> Select[int]:
    return select(func.count()).where(_seen(), worker_heartbeats.c.worker != BEAT)


def _seen() -> ColumnElement[bool]:
    return worker_heartbeats.c.seen_at > func.clock_timestamp() - WORKER_SEEN_WITHIN
