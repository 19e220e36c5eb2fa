"""The backlog for monitoring: counted at each request while that is quick, else a recent count.

With millions of rows, counting takes long. A scrape neither waits for that nor adds to it.
"""

import logging
import threading
import time
from dataclasses import dataclass

from domain.identity.access import Principal
from services.kernel.unit_of_work import Database
from services.operations.health import Backlog, backlog

# Seconds. A count that takes longer is made in the background, and shown by the next request.
QUICK = 0.05
# Seconds. Twice the default interval of Prometheus: a regular scrape always finds a younger count.
OLDEST = 120.0
# Callers with other namespaces than these are rare, and each is counted separately.
MOST_CALLERS = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Count:
    """`at`: when it was finished, by `time.monotonic`; `took` is in seconds."""

    found: Backlog
    at: float
    took: float


class _Counter:
    """Counts for all callers with the same namespaces, one at a time."""

    def __init__(self, database: Database, by: Principal) -> None:
        self._database = database
        self._by = by
        self._counting = threading.Lock()
        self.last: _Count | None = None

    def read(self) -> tuple[Backlog, float]:
        last = self.last
        if last is None or last.took < QUICK or time.monotonic() - last.at > OLDEST:
            with self._counting:
                if self.last is last:
                    self._count()
        elif self._counting.acquire(blocking=False):
            threading.Thread(target=self._count_behind, name="backlog", daemon=True).start()
        assert self.last is not None, "the first caller has counted"
        return self.last.found, time.monotonic() - self.last.at

    def _count(self) -> None:
        began = time.monotonic()
        found = backlog(self._database, self._by)
        ended = time.monotonic()
        self.last = _Count(found, ended, ended - began)

    def _count_behind(self) -> None:
        try:
            self._count()
        except Exception as error:
            # Once the last count is too old, a request counts for itself and reports the error.
            log.warning("the backlog could not be counted: %s", type(error).__name__)
        finally:
            self._counting.release()


class BacklogCache:
    """The last count of each group of callers that see the same namespaces."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counters: dict[frozenset[str], _Counter] = {}

    def read(self, by: Principal) -> tuple[Backlog, float]:
        """Return the work that the caller sees, and the age of this count in seconds. Raises `DatabaseUnavailable`."""
        seen = frozenset(by.namespaces)
        with self._lock:
            if seen not in self._counters and len(self._counters) >= MOST_CALLERS:
                del self._counters[next(iter(self._counters))]
            counter = self._counters.setdefault(seen, _Counter(self._database, by))
        return counter.read()
