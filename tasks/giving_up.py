"""Work that raises each time is not tried for ever: after a few tries an operator is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import Lease
from services.kernel.unit_of_work import Database
from services.operations.giving_up import failed


@contextmanager
def giving_up(database: Database, kind: str, id_: UUID) -> Iterator[Callable[[Lease], None]]:
    """What the block raises counts as a try of this row. It is told of the lease, once the row is claimed.

    A claimed saga is not: its call may be under way, and what came of it is settled when the lease has run out.
    """
    leases: list[Lease] = []
    try:
        yield leases.append
    except DatabaseUnavailable:
        raise
    except Exception as error:
        failed(database, kind, id_, error, leases[0].token if leases else None)
        raise
