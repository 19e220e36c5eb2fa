"""A restored database: keep it read-only until an operator has looked, show what may have run, and go on.

After a backup was taken, its original may have carried out anything that waited. A backup cannot tell. So nothing
runs in a restored database until an operator says so. Then each saga on its way waits for them, and approvals
that agents may have used are no longer valid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, case, extract, func, or_, select, text, update

from domain.identity.access import Principal, Role
from domain.log.audit import EVERYWHERE
from domain.log.audit_facts import pause_facts
from domain.pauses.pause import AGENT, OnTimeout, Status
from domain.sagas.saga import SagaStatus
from domain.values import ids
from models.audit import audit_heads
from models.notifications import notifications
from models.pauses import pauses
from models.sagas import sagas
from models.tables import metadata
from models.webhooks import webhook_deliveries
from services.kernel.unit_of_work import Database, UnitOfWork
from services.log import audit
from services.log.row_verification import verify_rows
from services.operations.giving_up import stop_saga

OPERATOR = Principal("system", "restore", Role.ADMIN, ("*",))
# Each saga that waits shows it.
REASON = (
    "the database was restored, and the original may have gone on with this saga: look at the other systems first."
    " If nothing ran there, retry the step. If something ran, undo it there, and cancel the saga"
)
# One transaction changes so many rows, so that its log entries fit in memory.
BATCH = 200

_ON_ITS_WAY = sagas.c.stuck.is_(None) & or_(
    sagas.c.due_at.is_not(None), sagas.c.status == SagaStatus.AWAITING_HUMAN.value
)
_PENDING = pauses.c.status == Status.PENDING.value
_BY_DEADLINE = _PENDING & (pauses.c.on_timeout == OnTimeout.APPROVE.value)
# Seconds from the decision until now.
_AGE = func.floor(extract("epoch", func.clock_timestamp() - pauses.c.resolved_at))
_USABLE = (
    (pauses.c.status == Status.APPROVED.value)
    & (pauses.c.kind == AGENT)
    & pauses.c.consumed_at.is_(None)
    & or_(pauses.c.approval_valid_for.is_(None), pauses.c.approval_valid_for > _AGE)
)
# In the order of the report.
_WAITING = {
    "sagas on their way, or with a held step": select(func.count()).where(_ON_ITS_WAY),
    "pauses without a decision": select(func.count()).where(_PENDING, pauses.c.kind == AGENT),
    "approvals that an agent may have used": select(func.count()).where(_USABLE),
    "webhook deliveries due": select(func.count()).where(webhook_deliveries.c.status == "pending"),
    "notifications due": select(func.count()).where(notifications.c.status == "pending"),
}


def row_counts(conn: Connection) -> dict[str, int]:
    """Count the rows of each table, in the connection's transaction."""
    counts = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
    return {name: conn.execute(query).scalar_one() for name, query in counts.items()}


def log_heads(conn: Connection) -> dict[str, list[Any]]:
    """Return the last entry of each chain, as its number and its hash, in the connection's transaction."""
    rows = conn.execute(select(audit_heads).order_by(audit_heads.c.namespace)).all()
    return {row.namespace: [row.seq, bytes(row.hash).hex()] for row in rows}


def waiting(conn: Connection) -> dict[str, int]:
    """Count what waited when the backup was taken, and may have gone on since."""
    return {name: int(conn.execute(query).scalar_one()) for name, query in _WAITING.items()}


def hold(engine: Engine) -> None:
    """Make the database read-only by default, and end the other sessions of this role, which were opened before."""
    _set_default(engine, "SET default_transaction_read_only = on")


def let_go(engine: Engine) -> None:
    """Make the database writable again, and end the other sessions of this role, which are read-only."""
    _set_default(engine, "RESET default_transaction_read_only")


def _set_default(engine: Engine, change: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        name = conn.dialect.identifier_preparer.quote(conn.execute(text("SELECT current_database()")).scalar_one())
        conn.execute(text(f"ALTER DATABASE {name} {change}"))
        conn.execute(_END_OTHERS)


_END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
)


def is_held(conn: Connection) -> bool:
    """Return whether the database itself is set to read-only."""
    found = conn.execute(
        text(
            "SELECT coalesce(bool_or('default_transaction_read_only=on' = ANY (setconfig)), false) FROM"
            " pg_db_role_setting JOIN pg_database AS db ON db.oid = setdatabase"
            " WHERE setrole = 0 AND datname = current_database()"
        )
    )
    return bool(found.scalar_one())


def proof(database: Database) -> tuple[int, int, str | None]:
    """Verify the log, and the rows against it. Return how many entries and rows fit, and the first that does not."""
    log = audit.verify(database, OPERATOR)
    rows = verify_rows(database, OPERATOR)
    bad = log["first_bad"] or rows.first_bad
    return log["checked"], rows.checked, None if bad is None else str(bad)


@dataclass(frozen=True, slots=True)
class Resumed:
    """How many sagas wait for an operator, and how many pauses have become stricter."""

    sagas: int = 0
    pauses: int = 0


def release(database: Database, *, nothing_ran: bool) -> Resumed:
    """Record the restore. Unless nothing ran since the backup, keep what may have run from running again.

    A call after one that broke off finishes its work.
    """
    found = Resumed() if nothing_ran else Resumed(_all(database, _stop_sagas), _all(database, _restrict_pauses))
    with database.transaction() as uow:
        uow.record(OPERATOR, EVERYWHERE, "installation.restored", EVERYWHERE, nothing_ran=nothing_ran)
    return found


def _all(database: Database, change: Callable[[UnitOfWork], int]) -> int:
    """Repeat the change of one batch until there is none left. Return how many rows it changed."""
    count = 0
    while True:
        with database.transaction() as uow:
            changed = change(uow)
        count += changed
        if changed < BATCH:
            return count


def _stop_sagas(uow: UnitOfWork) -> int:
    found = uow.conn.execute(select(sagas.c.id).where(_ON_ITS_WAY).limit(BATCH)).scalars().all()
    for id_ in found:
        stop_saga(uow, id_, REASON)
    return len(found)


def _restrict_pauses(uow: UnitOfWork) -> int:
    """End the validity of usable approvals. Let a deadline expire pauses that it would approve."""
    chosen = select(pauses.c.id).where(or_(_BY_DEADLINE, _USABLE)).limit(BATCH)
    stricter = {
        "on_timeout": case((_BY_DEADLINE, OnTimeout.EXPIRE.value), else_=pauses.c.on_timeout),
        "approval_valid_for": case((_USABLE, _AGE), else_=pauses.c.approval_valid_for),
    }
    changed = update(pauses).where(pauses.c.id.in_(chosen)).values(stricter).returning(*pauses.c)
    rows = [dict(row) for row in uow.conn.execute(changed).mappings()]
    for row in rows:
        facts = pause_facts(row)
        said = {"revision": row["revision"], "arguments_digest": facts.get("arguments_digest")}
        said["row"] = {name: facts.get(name) for name in stricter}
        uow.record(None, row["namespace"], "pause.restricted", ids.text(ids.WATCH, row["id"]), **said)
    return len(rows)
