"""Rows whose work fails each time. A sweep skips such a row for a while, so that it delays no other.

A sweep tries the row again for as long as it is there, with growing pauses. `services.operations.giving_up` ends the
work on due rows after a few tries.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, delete, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from domain.manifests.definition import DefinitionGone
from domain.values.errors import DomainError
from models.leases import set_aside
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, UnitOfWork

log = logging.getLogger(__name__)

# The kinds of sweeps.
EXPIRY, REMINDER, OUTCOME, PROGRESS = "expiry", "reminder", "outcome", "progress"
# How long a sweep leaves a row alone: after its first failure, and at most.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60, 3_600
# The count of tries starts again after this long without a failure.
FORGOTTEN_AFTER = timedelta(hours=3)
# The count stops here; it is stored in a smallint.
MOST_TRIES = 100


def postpone(database: Database, kind: str, id_: UUID, error: Exception) -> None:
    """Make sweeps leave a row alone for a while after its work raised `error`."""
    reason = reason_of(error)
    with database.transaction() as uow:
        tries = count_failure(uow, kind, id_, reason, _doubled)
    extra = {"kind": kind, "id": id_.hex, "reason": reason, "tries": tries}
    if isinstance(error, DatabaseUnavailable):
        log.warning("a row is set aside for a while", extra=extra)
    else:
        log.error("a row is set aside: an operator must look at it", exc_info=error, extra=extra)


def is_set_aside(uow: UnitOfWork, kind: str, id_: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return a condition: the row is set aside now."""
    return exists().where(set_aside.c.kind == kind, set_aside.c.id == id_, set_aside.c.until > uow.now)


def forget(uow: UnitOfWork, kind: str, id_: UUID) -> None:
    """Reset the row's count of tries."""
    uow.conn.execute(delete(set_aside).where(set_aside.c.kind == kind, set_aside.c.id == id_))


def count_set_aside() -> Select[Any]:
    """Count the rows that are set aside now."""
    return select(func.count()).select_from(set_aside).where(set_aside.c.until > func.clock_timestamp())


def reason_of(error: Exception) -> str:
    """Return the reason that operators see. An unexpected error may quote user data: only the log has its text."""
    if isinstance(error, DomainError | DefinitionGone | DatabaseUnavailable):
        return str(error)
    return f"internal error, see the worker's log: {type(error).__name__}"


def count_failure(
    uow: UnitOfWork, kind: str, id_: UUID, reason: str, wait: Callable[[ColumnElement[int]], ColumnElement[timedelta]]
) -> int:
    """Count one more failure of the row; return how many there were lately."""
    columns = set_aside.c
    lately = columns.failed_at > uow.now - FORGOTTEN_AFTER
    tries: ColumnElement[int] = case((lately, func.least(columns.tries + 1, MOST_TRIES)), else_=1)
    first = {"tries": 1, "until": uow.now + wait(literal(1))}
    again = {"tries": tries, "until": uow.now + wait(tries)}
    new = insert(set_aside).values(kind=kind, id=id_, reason=reason, failed_at=uow.now, **first)
    counted = new.on_conflict_do_update(
        index_elements=["kind", "id"], set_={"reason": reason, "failed_at": uow.now, **again}
    )
    return int(uow.conn.execute(counted.returning(columns.tries)).scalar_one())


def _doubled(tries: ColumnElement[int]) -> ColumnElement[timedelta]:
    seconds = func.least(FIRST_WAIT_SECONDS * func.power(2, tries - 1), LONGEST_WAIT_SECONDS)
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)
