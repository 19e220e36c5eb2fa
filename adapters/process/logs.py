"""Logs as JSON lines on stderr, one object per line, with the trace id of the request or task if there is one.

An exception that nothing caught, or a warning, which Python itself would print, is a line too.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Queue
from types import TracebackType
from uuid import UUID

import orjson

# Set for the duration of one request or task.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


@contextmanager
def logging_trace(id_: UUID) -> Iterator[None]:
    """Name this trace in each line that the block logs, also in work that it begins on an event loop."""
    outer = trace_id.set(id_.hex)
    try:
        yield
    finally:
        trace_id.reset(outer)


# The standard attributes of a record; any others come from the caller.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

log = logging.getLogger(__name__)


def log_as_json(level: str) -> None:
    handler = _Queued(Queue())
    handler.setFormatter(JsonFormatter())
    QueueListener(handler.queue, logging.StreamHandler(sys.stderr)).start()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Python would print these in pieces, between the lines of the thread that writes.
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    logging.captureWarnings(capture=True)


def _uncaught(type_: type[BaseException], found: BaseException | None, traceback: TracebackType | None) -> None:
    if not issubclass(type_, SystemExit):  # which ends a thread without a word
        log.critical("nothing caught this exception", exc_info=(type_, found or type_(), traceback))


class _Queued(QueueHandler):
    """A handler that formats a record in the logging thread, which knows the trace id. Another thread writes it."""

    queue: "Queue[logging.LogRecord]"

    def flush(self) -> None:
        """Wait until every line is written. `logging.shutdown` calls this at the end of the process."""
        self.queue.join()


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        found = {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            found["exc_info"] = self.formatException(record.exc_info)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **found,
        }
        if (current := trace_id.get()) is not None:
            line["trace_id"] = current
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class LogThrottle:
    """A limit for a warning that every failure of an outage would repeat: `now()` is true once per `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._silent_until = float("-inf")

    def now(self) -> bool:
        with self._lock:
            at = time.monotonic()
            if at < self._silent_until:
                return False
            self._silent_until = at + self._seconds
            return True
