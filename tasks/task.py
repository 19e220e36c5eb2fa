"""How a task is made here. While the database is away every task fails, and none of them needs to: a sweep finds what
they left. So they say it in one line now and then, with the reason, not in a traceback each."""

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from celery import shared_task

from adapters.process.logs import LogThrottle
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")

# Seconds; two sweeps a second and every hint fail meanwhile.
_warning = LogThrottle(10)
# When the database was away last; each worker looks every few seconds (`tasks.heartbeat`).
_away_at: deque[float] = deque(maxlen=1)


def away_within(seconds: float) -> bool:
    return any(time.monotonic() - at < seconds for at in _away_at)


def note_away() -> None:
    _away_at.append(time.monotonic())


def task(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A Celery task of this name. The database's absence ends it, quietly; any other exception is Celery's to log."""

    def decorate(work: Callable[P, None]) -> Callable[P, None]:
        @shared_task(name=name)  # type: ignore[untyped-decorator]
        @wraps(work)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                work(*args, **kwargs)
            except DatabaseUnavailable as error:
                note_away()
                if _warning.now():
                    log.warning("the database did not do what %s asked of it, a sweep tries again: %s", name, error)

        return run  # type: ignore[no-any-return]

    return decorate
