"""Time that passes, for the pauses of the stack."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, update

from models.pauses import pauses
from services.kernel.unit_of_work import Database


def expire(database: Database, watch_id: str) -> None:
    """Let the time for the decision run out."""
    _change(database, watch_id, expires_at=func.clock_timestamp())


def age(database: Database, watch_id: str, seconds: float) -> None:
    """Let time pass since the decision."""
    _change(database, watch_id, resolved_at=func.clock_timestamp() - timedelta(seconds=seconds))


def _change(database: Database, watch_id: str, **values: object) -> None:
    change = update(pauses).where(pauses.c.id == UUID(watch_id.removeprefix("wch_"))).values(**values)
    with database.transaction() as uow:
        assert uow.conn.execute(change).rowcount == 1
