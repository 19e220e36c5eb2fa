"""A job on its own thread, so that a slow job delays no other and occupies no thread of Celery's pool."""

import logging
import threading
from collections.abc import Callable

from tasks.task import tolerating_outage

log = logging.getLogger(__name__)


class OwnThread:
    """A job that runs on request. Requests during a run cause one more run."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name, self._work = name, work
        self._requested = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def request(self) -> None:
        self._requested.set()

    def _run(self) -> None:
        while self._requested.wait():
            self._requested.clear()
            try:
                with tolerating_outage(self._name):
                    self._work()
            except Exception:
                log.exception("%s failed", self._name)
