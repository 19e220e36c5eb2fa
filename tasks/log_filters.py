"""Log filters for Celery and kombu while Redis is unreachable, which is no loss of data.

Unfiltered, beat logs a traceback for each sweep that it cannot send. Its library kombu logs "unable to restore" and
"emergency dump" for wake-ups that a worker received but did not start. The next sweep sends them again.
"""

import logging

from adapters.process.logs import LogThrottle
from adapters.redis.connection import brief

WARN_EVERY_SECONDS = 10


def install_log_filters() -> None:
    """Install the filters. Call it after the logs are set up."""
    logging.getLogger("celery.beat").addFilter(_Unsent())
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_without_traceback)
    for name in ("kombu.transport.virtual.base", "kombu.utils.div"):
        logging.getLogger(name).addFilter(_not_about_wakeups)
    logging.getLogger("py.warnings").addFilter(_not_about_late_acks)


class _Unsent(logging.Filter):
    """A filter that turns beat's errors about unsent sweeps into an occasional warning."""

    def __init__(self) -> None:
        super().__init__()
        self._warning = LogThrottle(WARN_EVERY_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Message Error") or not record.exc_info or record.exc_info[1] is None:
            return True
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        error = brief(record.exc_info[1])
        record.msg, record.args = "beat cannot send sweeps because Redis is unreachable: %s", (error,)
        record.exc_info = None
        return self._warning.now()


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _not_about_wakeups(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("UNABLE TO RESTORE", "EMERGENCY DUMP", "Restoring"))


def _not_about_late_acks(record: logging.LogRecord) -> bool:
    """Drop Celery's advice on late acks at each lost connection; late acks are not used here."""
    return "CPendingDeprecationWarning" not in record.getMessage()
