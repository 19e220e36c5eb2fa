"""A job on its own thread, so that a slow job delays no other and occupies no thread of Celery's pool."""

import logging
import threading
from collections.abc import Callable

from adapters.process.logs import LogThrottle
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)
WARN_EVERY = 10.0


class OwnThread:
    """A job that runs on request. Requests during a run cause one more run.

    `away` is called if the database is unavailable.
    """

    def __init__(self, name: str, work: Callable[[], object], away: Callable[[], None]) -> None:
        self._name, self._work, self._away = name, work, away
        self._requested = threading.Event()
        self._warning = LogThrottle(WARN_EVERY)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def request(self) -> None:
        self._requested.set()

    def _run(self) -> None:
        while self._requested.wait():
            self._requested.clear()
            try:
                self._work()
            except DatabaseUnavailable as error:
                self._away()
                if self._warning.now():
                    log.warning("%s failed because the database is unavailable: %s", self._name, error)
            except Exception:
                log.exception("%s failed", self._name)
