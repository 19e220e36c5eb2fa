"""Recording the result of an external call. The call has happened, so the record waits for a database failover."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

# A restart of PostgreSQL takes a second or two.
RETRY_SECONDS = 0.5
# A cloud's failover takes up to two minutes. This may exceed a lease: no one can claim the row while the database
# accepts no changes, and the record itself checks the lease afterwards.
MAX_SECONDS = 300.0

Recorded = TypeVar("Recorded")


def retry_while_leased(record: Callable[[], Recorded]) -> Recorded:
    """Call `record`, which checks the lease, until the database accepts it.

    Raises `DatabaseUnavailable` when the time is up; another worker then takes over.
    """
    until, logged = time.monotonic() + MAX_SECONDS, False
    while True:
        try:
            return record()
        except DatabaseUnavailable as error:
            if time.monotonic() >= until:
                raise
            if not logged:
                log.warning("a result cannot be recorded yet; it is kept and retried: %s", error)
                logged = True
            time.sleep(RETRY_SECONDS)
