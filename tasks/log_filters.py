"""What Celery and kombu say while Redis is away, in an operator's proportions: it is down, for now; nothing is lost.

Their own words are a traceback for each sweep that beat cannot send, and "unable to restore", "emergency dump" for
hints that a worker had taken and not begun, which the next sweep sends again.
"""

import logging

from adapters.process.logs import LogThrottle

WARN_EVERY_SECONDS = 10


def calm() -> None:
    """Call once the logs are set up."""
    logging.getLogger("celery.beat").addFilter(_Unsent())
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_without_traceback)
    for name in ("kombu.transport.virtual.base", "kombu.utils.div"):
        logging.getLogger(name).addFilter(_not_about_hints)
    logging.getLogger("py.warnings").addFilter(_not_about_late_acks)


class _Unsent(logging.Filter):
    """Beat's report of a sweep that it could not send becomes a warning, now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._warning = LogThrottle(WARN_EVERY_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Message Error") or not record.exc_info:
            return True
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = "no sweeps while Redis is away: %s", (record.exc_info[1],)
        record.exc_info = None
        return self._warning.now()


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _not_about_hints(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("UNABLE TO RESTORE", "EMERGENCY DUMP", "Restoring"))


def _not_about_late_acks(record: logging.LogRecord) -> bool:
    """At each lost connection Celery advises a setting for late acks, which are not used here."""
    return "CPendingDeprecationWarning" not in record.getMessage()
