"""One batch of a sweep that decodes rows: all in one transaction; where that fails, each row in one of its own.

So a row that cannot be read, or that somebody has locked for long, is set aside, and the others are done.
"""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select

from models.pauses import pauses
from services.kernel.connection_pool import DatabaseAway
from services.kernel.quarantine import is_left_alone, postpone
from services.kernel.unit_of_work import Store, Tx

log = logging.getLogger(__name__)


def sweep_pauses(
    store: Store, kind: str, chosen: Callable[[Tx], Select[Any]], limit: int, work: Callable[[Tx, RowMapping], object]
) -> int:
    """How many rows were met, at most `limit`. Rows that another sweep has locked are skipped. Raises `DatabaseAway`.

    `chosen`: the pauses that are due, the longest due first.
    """
    found: list[UUID] = []

    def query(tx: Tx) -> Select[Any]:
        due = chosen(tx).where(~is_left_alone(tx, kind, pauses.c.id))
        return due.with_for_update(of=pauses, skip_locked=True, key_share=True)

    try:
        with store.transaction() as tx:
            rows = tx.conn.execute(query(tx).limit(limit)).mappings().all()
            found += [row["id"] for row in rows]
            for row in rows:
                work(tx, row)
        return len(rows)
    except Exception as error:
        if not found or _is_away(error):
            raise
        log.warning("a sweep does its rows one by one: %s", type(error).__name__, extra={"kind": kind})
    for id_ in found:
        try:
            with store.transaction() as tx:
                for row in tx.conn.execute(query(tx).where(pauses.c.id == id_)).mappings():
                    work(tx, row)
        except Exception as error:
            if _is_away(error):
                raise
            postpone(store, kind, id_, error)
    return len(found)


def _is_away(error: Exception) -> bool:
    """The database is, for all; not one row of it, which somebody has locked."""
    return isinstance(error, DatabaseAway) and not error.may_be_a_rows
