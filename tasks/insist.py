"""Recording what was done outside: it has happened, so it is worth waiting for a database that restarts."""

import time
from collections.abc import Callable
from typing import TypeVar

from services.database import DatabaseAway
from services.due import LEASE

# A restart of PostgreSQL takes a second or two.
AGAIN_SECONDS = 0.5

Recorded = TypeVar("Recorded")


def insist(record: Callable[[], Recorded]) -> Recorded:
    """Again while the lease lasts. Raises `DatabaseAway` when that time is up: another worker takes over."""
    until = time.monotonic() + LEASE.total_seconds()
    while True:
        try:
            return record()
        except DatabaseAway:
            if time.monotonic() >= until:
                raise
            time.sleep(AGAIN_SECONDS)
