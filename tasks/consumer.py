"""A Celery consumer that waits and retries on every error of Redis.

Celery's consumer ends the process when Redis is read-only or out of memory. After other errors it retries without a
pause for as long as they last.
"""

import logging
import time

from celery.worker import state
from celery.worker.consumer import Consumer

from adapters.process.logs import LogThrottle
from adapters.redis.connection import brief

log = logging.getLogger(__name__)

# Seconds. The wait doubles with each failure; it starts over after a while without one.
FIRST_WAIT = 0.5
LONGEST_WAIT = 5.0
WARN_EVERY = 10.0


class PatientConsumer(Consumer):  # type: ignore[misc]
    _wait = FIRST_WAIT
    _failed_at = float("-inf")
    _warning = LogThrottle(WARN_EVERY)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._wait_and_retry(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            self.connection.collect()
        except Exception as error:  # the consumer opens a new connection in any case
            log.debug("the connection to Redis did not close: %s", error)
        self._wait_and_retry(exc)

    def _wait_and_retry(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._failed_at > 2 * LONGEST_WAIT:
            self._wait = FIRST_WAIT
        self._failed_at = now
        if self._warning.now():
            log.warning("the worker receives no wake-ups until Redis accepts requests again: %s", brief(error))
        until = now + self._wait
        self._wait = min(LONGEST_WAIT, 2 * self._wait)
        while time.monotonic() < until:
            # Raises if the worker is shutting down.
            state.maybe_shutdown()
            time.sleep(0.1)
