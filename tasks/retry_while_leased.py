"""Recording what was done outside: it has happened, so it is worth waiting for a database that fails over."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

# A restart of PostgreSQL takes a second or two.
AGAIN_SECONDS = 0.5
# A fail-over takes up to two minutes where a cloud does it. Longer than a lease: while the database takes no changes,
# nobody else can claim the row, and whoever has claimed it afterwards is asked for by the record itself.
PATIENCE_SECONDS = 300.0

Recorded = TypeVar("Recorded")


def insist(record: Callable[[], Recorded]) -> Recorded:
    """Again until the database takes it. `record` is guarded by the lease.

    Raises `DatabaseUnavailable` when the time is up: another worker takes over.
    """
    until, told = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            return record()
        except DatabaseUnavailable as error:
            if time.monotonic() >= until:
                raise
            if not told:
                log.warning("a result cannot be recorded yet, it is kept and tried again: %s", error)
                told = True
            time.sleep(AGAIN_SECONDS)
