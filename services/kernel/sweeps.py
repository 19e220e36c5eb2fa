"""One batch of a sweep over pauses: all rows in one transaction or, if that fails, each row in its own.

A row that cannot be decoded, or that stays locked, is set aside; the others are processed.
"""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select

from models.pauses import pauses
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.quarantine import is_set_aside, postpone
from services.kernel.unit_of_work import Database, UnitOfWork

log = logging.getLogger(__name__)


def sweep_pauses(
    database: Database,
    kind: str,
    chosen: Callable[[UnitOfWork], Select[Any]],
    limit: int,
    work: Callable[[UnitOfWork, RowMapping], object],
) -> int:
    """Call `work` for at most `limit` due pauses, and return how many were found. Skip rows that are locked.

    `chosen`: selects the due pauses, the longest due first. Raises `DatabaseUnavailable`.
    """
    found: list[UUID] = []

    def query(uow: UnitOfWork) -> Select[Any]:
        due = chosen(uow).where(~is_set_aside(uow, kind, pauses.c.id))
        return due.with_for_update(of=pauses, skip_locked=True, key_share=True)

    try:
        with database.transaction() as uow:
            rows = uow.conn.execute(query(uow).limit(limit)).mappings().all()
            found += [row["id"] for row in rows]
            for row in rows:
                work(uow, row)
        return len(rows)
    except Exception as error:
        if not found or _is_away(error):
            raise
        log.warning(
            "a batch of a sweep failed; it processes the rows one by one: %s",
            type(error).__name__,
            extra={"kind": kind},
        )
    for id_ in found:
        try:
            with database.transaction() as uow:
                for row in uow.conn.execute(query(uow).where(pauses.c.id == id_)).mappings():
                    work(uow, row)
        except Exception as error:
            if _is_away(error):
                raise
            postpone(database, kind, id_, error)
    return len(found)


def _is_away(error: Exception) -> bool:
    """Return whether the whole database is unavailable, rather than one locked row."""
    return isinstance(error, DatabaseUnavailable) and not error.may_be_a_rows
