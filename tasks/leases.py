"""The heartbeat of one worker process: keeps the leases alive of everything that it works on."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from adapters.process.logs import LogThrottle
from domain.sagas.progress import progress_document
from domain.sagas.serialization import span_text
from services.kernel.leases import LEASE, Lease, renew
from services.kernel.unit_of_work import Database

log = logging.getLogger(__name__)

# Two heartbeats may fail before a lease runs out.
BEAT_SECONDS = LEASE.total_seconds() / 3
# After one that failed: the leases must be alive again before anybody sees that they ran out.
AGAIN_SECONDS = 0.25
WARN_EVERY = 10.0


class LeaseKeeper:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._warning = LogThrottle(WARN_EVERY)
        # Until when nobody else can have it, by our own clock.
        self._held: dict[Lease, float] = {}
        # What their calls have said last of how far they are, since the last heartbeat. By their tokens.
        self._news: dict[UUID, dict[str, Any]] = {}
        threading.Thread(target=self._run, name="leases", daemon=True).start()

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        self.keep(lease)
        try:
            yield
        finally:
            self.drop(lease)

    def keep(self, lease: Lease) -> None:
        """Until `drop`."""
        with self._lock:
            self._held[lease] = lease.since + LEASE.total_seconds()

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.pop(lease, None)
            self._news.pop(lease.token, None)

    def tell(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Written with the next heartbeat: however often a tool tells, that is as often as it is stored."""
        with self._lock:
            if lease in self._held:
                self._news[lease.token] = progress

    def teller(self, lease: Lease, span_id: int, attempt: int) -> Callable[[float, float | None, str | None], None]:
        """`tell`, of one execution of a step."""

        def tell(done: float, total: float | None, message: str | None) -> None:
            if (progress := progress_document(span_text(span_id), attempt, done, total, message)) is not None:
                self.tell(lease, progress)

        return tell

    def holds(self, lease: Lease) -> bool:
        """It is certainly still ours: not so where this process, or its way to the database, stood still for long."""
        with self._lock:
            return time.monotonic() < self._held.get(lease, 0.0)

    def beat(self) -> bool:
        """False: it failed."""
        with self._lock:
            held = list(self._held)
            news, self._news = self._news, {}
        until = time.monotonic() + LEASE.total_seconds()
        try:
            kept = renew(self._database, held, news)
        except Exception as error:  # the database may be away: the next beat may find it
            if self._warning.now():
                log.warning("leases not renewed: %s", type(error).__name__)
            return False
        with self._lock:
            self._held.update({lease: until for lease in kept if lease in self._held})
        return True

    def _run(self) -> None:
        pause, wait = threading.Event(), BEAT_SECONDS
        while not pause.wait(wait):
            wait = BEAT_SECONDS if self.beat() else min(AGAIN_SECONDS, BEAT_SECONDS)
