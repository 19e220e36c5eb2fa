"""The heartbeat of one worker process: keeps the leases alive of everything that it works on."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.due import LEASE, Lease, renew
from services.transaction import Store

log = logging.getLogger(__name__)

# Two heartbeats may fail before a lease runs out.
BEAT_SECONDS = LEASE.total_seconds() / 3


class LeaseKeeper:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._held: set[Lease] = set()
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
            self._held.add(lease)

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.discard(lease)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(BEAT_SECONDS):
            with self._lock:
                held = list(self._held)
            try:
                renew(self._store, held)
            except Exception as error:  # the database may be away: the next beat may find it
                log.warning("leases not renewed: %s", type(error).__name__)
