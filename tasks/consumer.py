"""Celery's consumer, but patient: whatever Redis refuses, the worker waits and tries again.

Celery's own ends the process when Redis is read-only or has no memory left; where it goes on, it tries again at once,
for as long as that lasts.
"""

import logging
import time

from celery.worker import state
from celery.worker.consumer import Consumer

from adapters.process.logs import LogThrottle

log = logging.getLogger(__name__)

# Seconds; doubled with each failure, until one connection was good for as long as the longest wait.
FIRST_WAIT = 0.5
LONGEST_WAIT = 5.0
WARN_EVERY = 10.0


class PatientConsumer(Consumer):  # type: ignore[misc]
    _wait = FIRST_WAIT
    _failed_at = float("-inf")
    _warning = LogThrottle(WARN_EVERY)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._be_patient(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            self.connection.collect()
        except Exception as error:  # whatever is left of it: a new one is opened
            log.debug("the connection to Redis did not close: %s", error)
        self._be_patient(exc)

    def _be_patient(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._failed_at > 2 * LONGEST_WAIT:
            self._wait = FIRST_WAIT
        self._failed_at = now
        if self._warning.now():
            log.warning("no hints are taken until Redis lets them be: %s", error)
        until = now + self._wait
        self._wait = min(LONGEST_WAIT, 2 * self._wait)
        while time.monotonic() < until:
            # Raises when the worker was told to end.
            state.maybe_shutdown()
            time.sleep(0.1)
