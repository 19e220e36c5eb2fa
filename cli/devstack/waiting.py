"""Waiting for another process, with a deadline and cancellation."""

import time
from collections.abc import Callable

from cli.devstack.errors import CancelledError

# Short beside a server's start (about a second), long beside one check (well under a millisecond).
PAUSE_SECONDS = 0.05


def wait_until(
    condition: Callable[[], bool],
    within: float,
    cancelled: Callable[[], bool] = lambda: False,
    pause: float = PAUSE_SECONDS,
) -> bool:
    """Return True once `condition` holds, False after `within` seconds. Raises `CancelledError` if `cancelled`."""
    deadline = time.monotonic() + within
    while not condition():
        if cancelled():
            raise CancelledError
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
