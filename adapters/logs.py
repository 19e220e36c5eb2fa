"""Logs as JSON lines on stderr: one object a line, with the trace id of the request or task where there is one."""

import logging
import sys
import threading
import time
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

# Set by the edge for the time of one request or task.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


class _WithTrace(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if (current := trace_id.get()) is not None:
            record.trace_id = current
        return True


def log_as_json(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithTrace())
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class Seldom:
    """For a warning that every failure of an outage would repeat: `now()` is true, then not again for so long."""

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
