"""Counts for monitoring and charts: made at each request while that is quick, else a recent one.

With millions of rows, counting takes long. A request neither waits for that nor adds to it.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from domain.identity.access import Principal
from services.kernel.unit_of_work import Database

Found = TypeVar("Found")

# Seconds. A count that takes longer is made in the background, and shown by the next request.
QUICK = 0.05
# Seconds. Twice the default interval of Prometheus: a regular scrape always finds a younger count.
OLDEST = 120.0
# Callers with other namespaces than these are rare, and each is counted separately.
MOST_CALLERS = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Count(Generic[Found]):
    """`at`: when it was finished, by `time.monotonic`; `took` is in seconds."""

    found: Found
    at: float
    took: float


class _Counter(Generic[Found]):
    """Counts for all callers with the same namespaces, one at a time. They share a failure, too."""

    def __init__(self, count: Callable[[], Found]) -> None:
        self._count_now = count
        self._lock = threading.Lock()
        self._running: Future[_Count[Found]] | None = None
        self._last: _Count[Found] | None = None

    def read(self) -> tuple[Found, float]:
        last, (run, is_ours) = self._last, self._start()
        if last is None or last.took < QUICK or time.monotonic() - last.at > OLDEST:
            if is_ours:
                self._count(run)
            last = run.result()
        elif is_ours:
            threading.Thread(target=self._count_behind, args=[run], name="count", daemon=True).start()
        return last.found, time.monotonic() - last.at

    def _start(self) -> tuple["Future[_Count[Found]]", bool]:
        """Return the count that runs, and whether the caller has to make it."""
        with self._lock:
            if self._running is not None:
                return self._running, False
            self._running = Future()
            return self._running, True

    def _count(self, run: "Future[_Count[Found]]") -> None:
        began = time.monotonic()
        try:
            found = self._count_now()
        except BaseException as error:
            self._running = None
            run.set_exception(error)
        else:
            ended = time.monotonic()
            self._last, self._running = _Count(found, ended, ended - began), None
            run.set_result(self._last)

    def _count_behind(self, run: "Future[_Count[Found]]") -> None:
        self._count(run)
        # Once the last count is too old, a request counts for itself and reports the error.
        if (error := run.exception()) is not None:
            log.warning("waiting work could not be counted: %s", type(error).__name__)


class RecentCounts(Generic[Found]):
    """The last count of each group of callers that see the same namespaces. `count` raises `DatabaseUnavailable`."""

    def __init__(self, database: Database, count: Callable[[Database, Principal], Found]) -> None:
        self._database = database
        self._count = count
        self._lock = threading.Lock()
        self._counters: dict[frozenset[str], _Counter[Found]] = {}

    def read(self, by: Principal) -> tuple[Found, float]:
        """Return the count for the caller, and its age in seconds. Raises `DatabaseUnavailable`."""
        seen = frozenset(by.namespaces)
        with self._lock:
            if seen not in self._counters and len(self._counters) >= MOST_CALLERS:
                del self._counters[next(iter(self._counters))]
            counter = self._counters.setdefault(seen, _Counter(lambda: self._count(self._database, by)))
        return counter.read()
