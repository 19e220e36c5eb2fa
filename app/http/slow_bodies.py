"""A deadline for request bodies, and a limit on the number of stalled ones.

The server (granian) waits for a stalled body without a limit, and so does a thread; no setting changes this
([ADR 22](docs/adr/0025-late-request-bodies.md)). Another thread therefore responds to such a request and closes its
connection.
"""

import json
import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.exceptions import RequestTimeout

from adapters.process.connections import BODY_BYTES, end_connections
from app.http.middleware import KEY_ID
from app.http.problems import MEDIA_TYPE, problem_document

log = logging.getLogger(__name__)

# Seconds for a whole body: 1 MiB at half a megabit.
DEADLINE = 20.0
# Seconds after which an incomplete body counts as stalled.
STALLED = 1.0
# The maximum number of stalled bodies: per key or person (all anonymous callers count as one), and in all.
MAX_STALLED, MAX_STALLED_IN_ALL = 16, 64
_CHECK_INTERVAL = 0.25

TOO_SLOW = "the body of this request did not arrive in time; send it again"

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class BodyWatch:
    """The deadline and the limit for the bodies of one process."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._read: set[_Body] = set()
        self._lock = threading.Lock()

    def guard(self, application: Application) -> Application:
        """Wrap the outermost application, which the server itself calls: the caller's frame holds the connection."""
        threading.Thread(target=self._watch, name="bodies", daemon=True).start()

        def guarded(environ: Environ, start_response: Any) -> Iterable[bytes]:
            if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
                protocol = sys._getframe(1).f_locals.get("proto")
                if hasattr(protocol, "response_bytes"):
                    environ["wsgi.input"] = _Body(self, environ, protocol)
            return application(environ, start_response)

        return guarded

    @contextmanager
    def reading(self, body: "_Body") -> Iterator[None]:
        with self._lock:
            self._read.add(body)
        try:
            yield
        finally:
            with self._lock:
                self._read.discard(body)
        if body.cut:
            raise RequestTimeout(TOO_SLOW)

    def _watch(self) -> None:
        while True:
            time.sleep(_CHECK_INTERVAL)
            try:
                self._check(time.monotonic())
            except Exception:
                log.exception("stalled request bodies cannot be ended")

    def _check(self, now: float) -> None:
        with self._lock:
            stalled = sorted((body for body in self._read if now - body.began > STALLED), key=lambda body: body.began)
        by_port: dict[int, dict[Callable[[], None], str]] = defaultdict(dict)
        late = set(self._too_many(stalled, now))
        for body in late:
            body.cut = True
            by_port[body.port][body.answer] = body.address
        for port, answers in by_port.items():
            log.warning("request bodies did not arrive in time", extra={"connections": len(answers)})
            end_connections(port, answers, lambda: late.isdisjoint(self._read))

    def _too_many(self, stalled: list["_Body"], now: float) -> Iterator["_Body"]:
        """Yield the late bodies, and the oldest of those beyond the limits. `stalled` is sorted, oldest first."""
        of_owner: dict[str | None, int] = defaultdict(int)
        kept = 0
        for body in reversed(stalled):
            of_owner[body.owner] += 1
            over = of_owner[body.owner] > MAX_STALLED or kept >= MAX_STALLED_IN_ALL
            if over or now - body.began > self._deadline:
                yield body
            else:
                kept += 1


class _Body:
    """The server's stream of one request's body."""

    def __init__(self, watch: BodyWatch, environ: Environ, protocol: Any) -> None:
        self._watch = watch
        self._environ = environ
        self._stream = environ["wsgi.input"]
        self._protocol = protocol
        self.address: str = environ["REMOTE_ADDR"]
        self.port = int(environ["SERVER_PORT"])
        self.began = time.monotonic()
        self.cut = False

    @property
    def owner(self) -> str | None:
        """The id of the key or person, once the caller is authenticated."""
        return self._environ.get(KEY_ID)

    def read(self, size: int | None = -1) -> bytes:
        with self._watch.reading(self):
            found: bytes = self._stream.read(*_limit(size))
        return found

    def readline(self, size: int | None = -1) -> bytes:
        with self._watch.reading(self):
            found: bytes = self._stream.readline(*_limit(size))
        return found

    def readlines(self, size: int | None = -1) -> list[bytes]:
        with self._watch.reading(self):
            found: list[bytes] = self._stream.readlines(*_limit(size))
        return found

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def answer(self) -> None:
        """Send the error response; a later response from the request's own thread has no effect."""
        text = json.dumps(problem_document(408, "REQUEST_TIMEOUT", TOO_SLOW)).encode().ljust(BODY_BYTES)
        headers = [("content-type", MEDIA_TYPE), ("cache-control", "no-store"), ("connection", "close")]
        self._protocol.response_bytes(408, headers, text)


def _limit(size: int | None) -> tuple[int, ...]:
    """Return the arguments for a read: the server's stream reads everything only without an argument."""
    return () if size is None or size < 0 else (size,)
