"""Waiting for something that another process does, with a deadline and a way out."""

import time
from collections.abc import Callable

from cli.devstack.errors import CancelledError

# Short beside a server's start (about a second), long beside what one look costs (well under a millisecond).
PAUSE_SECONDS = 0.05


def wait_until(
    condition: Callable[[], bool],
    within: float,
    cancelled: Callable[[], bool] = lambda: False,
    pause: float = PAUSE_SECONDS,
) -> bool:
    """True as soon as `condition` holds, False after `within` seconds. Raises `CancelledError` when asked to stop."""
    deadline = time.monotonic() + within
    while not condition():
        if cancelled():
            raise CancelledError
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
