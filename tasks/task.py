"""How a task is made here. While the database is away every task fails, and none of them needs to: a sweep finds what
they left. So they say it in one line now and then, not in a traceback each."""

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from celery import shared_task

from services.database import DatabaseAway

log = logging.getLogger(__name__)

P = ParamSpec("P")

# Between two warnings. Two sweeps a second and every hint fail meanwhile.
WARN_EVERY_SECONDS = 10.0


def task(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A Celery task of this name. The database's absence ends it, quietly; any other exception is Celery's to log."""

    def decorate(work: Callable[P, None]) -> Callable[P, None]:
        @shared_task(name=name)  # type: ignore[untyped-decorator]
        @wraps(work)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                work(*args, **kwargs)
            except DatabaseAway as error:
                _absence.warn(error)

        return run  # type: ignore[no-any-return]

    return decorate


class _Absence:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent_until = 0.0

    def warn(self, error: DatabaseAway) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._silent_until:
                return
            self._silent_until = now + WARN_EVERY_SECONDS
        log.warning("the database is away, work waits until it is back: %s", error)


_absence = _Absence()
