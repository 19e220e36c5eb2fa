"""The decorator of every Celery task.

While the database is unavailable, every task fails, and a later sweep repeats its work. An occasional line in the log
with the reason replaces a traceback for each failure.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

from celery import shared_task

from adapters.process.logs import LogThrottle
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")

# Seconds. Two sweeps a second and every wake-up fail during an outage.
_warning = LogThrottle(10)
# The time of the last outage of the database; `tasks.heartbeat` probes it every few seconds.
_away_at: deque[float] = deque(maxlen=1)


def away_within(seconds: float) -> bool:
    return any(time.monotonic() - at < seconds for at in _away_at)


@contextmanager
def tolerating_outage(name: str) -> Iterator[None]:
    """End the block quietly when the database is unavailable, because a later sweep repeats its work."""
    try:
        yield
    except DatabaseUnavailable as error:
        _away_at.append(time.monotonic())
        if _warning.now():
            log.warning("%s failed because the database is unavailable; a sweep retries it: %s", name, error)


def task(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function the Celery task `name`. It ends quietly without a database; Celery logs other exceptions."""

    def decorate(work: Callable[P, None]) -> Callable[P, None]:
        @shared_task(name=name)  # type: ignore[untyped-decorator]
        @wraps(work)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with tolerating_outage(name):
                work(*args, **kwargs)

        return run  # type: ignore[no-any-return]

    return decorate
