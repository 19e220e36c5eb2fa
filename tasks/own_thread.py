"""A job on a thread of its own: when it is slow, only itself is late, and no thread of Celery's pool waits for it."""

import logging
import threading
from collections.abc import Callable

from adapters.process.logs import LogThrottle
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)
WARN_EVERY = 10.0


class OwnThread:
    """Asked for while the job is being done, it is done once more afterwards, however often it was asked for.

    `away` is told when the database did not do what was asked of it.
    """

    def __init__(self, name: str, work: Callable[[], object], away: Callable[[], None]) -> None:
        self._name, self._work, self._away = name, work, away
        self._asked = threading.Event()
        self._warning = LogThrottle(WARN_EVERY)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def ask(self) -> None:
        self._asked.set()

    def _run(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            try:
                self._work()
            except DatabaseUnavailable as error:
                self._away()
                if self._warning.now():
                    log.warning("the database did not do what %s asked of it: %s", self._name, error)
            except Exception:
                log.exception("%s failed", self._name)
