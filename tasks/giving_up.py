"""Counting of failed attempts: after a few, work is set aside and an operator is notified."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import Lease
from services.kernel.unit_of_work import Database
from services.operations.giving_up import failed


@contextmanager
def giving_up(database: Database, kind: str, id_: UUID) -> Iterator[Callable[[Lease], None]]:
    """Count an exception of the block as a failed attempt at this row, then raise it again.

    Yields a function for the block to report its lease once the row is claimed. A claimed saga reports none: its call
    may be running, and its outcome is decided when the lease has run out.
    """
    leases: list[Lease] = []
    try:
        yield leases.append
    except DatabaseUnavailable:
        raise
    except Exception as error:
        failed(database, kind, id_, error, leases[0].token if leases else None)
        raise
