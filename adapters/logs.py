"""Logs as JSON lines on stderr: one object a line, with the trace id of the request or task where there is one."""

import atexit
import logging
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

# Set by the edge for the time of one request or task.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)

# Lines below WARNING wait at most this long for others to be written with. Seconds.
GATHER_SECONDS = 0.05
# What a record has beside what its caller added.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def log_as_json(level: str) -> None:
    # Nothing here shows them, and finding them takes longer than the rest of a line.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = Gathering(sys.stderr)
    handler.setFormatter(JsonLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def tell(logger: logging.Logger, message: str, found: dict[str, Any]) -> None:
    """`logger.info(message, extra=found)` in a third of the time, for the line that each request has."""
    handler = next(iter(logging.getLogger().handlers), None)
    if not isinstance(handler, Gathering):
        logger.info(message, extra=found)
    elif logger.isEnabledFor(logging.INFO):
        handler.add(_line(time.time(), "INFO", logger.name, message, found))


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        found = {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            found["exc_info"] = self.formatException(record.exc_info)
        return _line(record.created, record.levelname, record.name, record.getMessage(), found)


def _line(created: float, level: str, logger: str, message: str, found: dict[str, Any]) -> str:
    line = {
        "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": message,
        **found,
    }
    if (current := trace_id.get()) is not None:
        line["trace_id"] = current
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Gathering(logging.StreamHandler[TextIO]):
    """Writes many lines at once, on a thread of its own; a warning or worse at once, with what came before it.

    A write gives the interpreter away in the middle of a request: with one for each request's line the server answered
    a third fewer. What a killed process loses is the last few milliseconds of what went well.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._writing = threading.Lock()
        self._some = threading.Event()
        atexit.register(self.flush)
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def createLock(self) -> None:
        """None: a deque takes lines from many threads, and none of them waits while others are being written."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.add(self.format(record))
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:  # as every handler does: a line that cannot be written must not end what it tells of
            self.handleError(record)

    def add(self, line: str) -> None:
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        with self._writing:
            if lines := [self._lines.popleft() for _ in range(len(self._lines))]:
                self.stream.write("\n".join([*lines, ""]))
                self.stream.flush()

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(GATHER_SECONDS)
            self._some.clear()
            self.flush()


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
