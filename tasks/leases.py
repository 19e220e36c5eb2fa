"""Lease renewal of one worker process, for everything that it works on."""

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
# After a failed heartbeat: the leases must be renewed before another worker sees them run out.
RETRY_SECONDS = 0.25
WARN_EVERY = 10.0


class LeaseKeeper:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._warning = LogThrottle(WARN_EVERY)
        # When each lease runs out, by this process's monotonic clock.
        self._held: dict[Lease, float] = {}
        # The latest progress of each call since the last heartbeat, by token of its lease.
        self._progress: dict[UUID, dict[str, Any]] = {}
        threading.Thread(target=self._run, name="leases", daemon=True).start()

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        self.keep(lease)
        try:
            yield
        finally:
            self.drop(lease)

    def keep(self, lease: Lease) -> None:
        """Renew the lease until `drop`."""
        with self._lock:
            self._held[lease] = lease.since + LEASE.total_seconds()

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.pop(lease, None)
            self._progress.pop(lease.token, None)

    def report_progress(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Store the progress with the next heartbeat, so that frequent reports cost no further writes."""
        with self._lock:
            if lease in self._held:
                self._progress[lease.token] = progress

    def progress_reporter(
        self, lease: Lease, span_id: int, attempt: int
    ) -> Callable[[float, float | None, str | None], None]:
        """Return a function that reports the progress of one execution of a step."""

        def report(done: float, total: float | None, message: str | None) -> None:
            if (progress := progress_document(span_text(span_id), attempt, done, total, message)) is not None:
                self.report_progress(lease, progress)

        return report

    def holds(self, lease: Lease) -> bool:
        """Return whether the lease is certainly still ours.

        It is not if this process, or its connection to the database, was frozen for too long.
        """
        with self._lock:
            return time.monotonic() < self._held.get(lease, 0.0)

    def beat(self) -> bool:
        """Renew all leases, and return whether that succeeded."""
        with self._lock:
            held = list(self._held)
            progress, self._progress = self._progress, {}
        until = time.monotonic() + LEASE.total_seconds()
        try:
            kept = renew(self._database, held, progress)
        except Exception as error:  # the database may be unreachable; the next beat tries again
            if self._warning.now():
                log.warning("leases not renewed: %s", type(error).__name__)
            return False
        with self._lock:
            self._held.update({lease: until for lease in kept if lease in self._held})
        return True

    def _run(self) -> None:
        pause, wait = threading.Event(), BEAT_SECONDS
        while not pause.wait(wait):
            wait = BEAT_SECONDS if self.beat() else min(RETRY_SECONDS, BEAT_SECONDS)
