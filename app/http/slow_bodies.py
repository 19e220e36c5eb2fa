"""A deadline for the bodies of requests, and a bound on how many that do not come may be waited for.

The server (granian) waits for ever for a body that stops coming, and a thread waits with it. It cannot be told to stop
(docs/adr/0025): here such a request is answered from another thread, and its connection is ended.
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
# One that is waited for so long is not just on its way. Seconds.
STALLED = 1.0
# Bodies that are waited for so long at once: for one key, person, or all who are neither; and in all.
MAX_STALLED, MAX_STALLED_IN_ALL = 16, 64
_LOOK_EVERY = 0.25

TOO_SLOW = "the body of this request did not arrive in time: send it again"

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class BodyWatch:
    """Belongs to one process."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._read: set[_Body] = set()
        self._lock = threading.Lock()

    def guard(self, application: Application) -> Application:
        """The server's own call comes here: what is around this one can no longer be answered for."""
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
            time.sleep(_LOOK_EVERY)
            try:
                self._look(time.monotonic())
            except Exception:
                log.exception("bodies that do not come cannot be ended")

    def _look(self, now: float) -> None:
        with self._lock:
            stalled = sorted((body for body in self._read if now - body.began > STALLED), key=lambda body: body.began)
        by_port: dict[int, dict[Callable[[], None], str]] = defaultdict(dict)
        late = set(self._too_many(stalled, now))
        for body in late:
            body.cut = True
            by_port[body.port][body.answer] = body.address
        for port, answers in by_port.items():
            log.warning("bodies of requests did not arrive in time", extra={"connections": len(answers)})
            end_connections(port, answers, lambda: late.isdisjoint(self._read))

    def _too_many(self, stalled: list["_Body"], now: float) -> Iterator["_Body"]:
        """Those that are late, and the longest waited for of those beyond the bounds. `stalled`: the oldest first."""
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
        """The key or person, as soon as it is known who asks."""
        return self._environ.get(KEY_ID)

    def read(self, size: int | None = -1) -> bytes:
        with self._watch.reading(self):
            found: bytes = self._stream.read(*_limit(size))
        return found

    def readline(self, size: int | None = -1) -> bytes:
        with self._watch.reading(self):
            found: bytes = self._stream.readline(*_limit(size))
        return found

    def readlines(self, wakeup: int | None = -1) -> list[bytes]:
        with self._watch.reading(self):
            found: list[bytes] = self._stream.readlines(*_limit(wakeup))
        return found

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def answer(self) -> None:
        """For whoever still listens; that the request's own thread answers too has no effect any more."""
        text = json.dumps(problem_document(408, "REQUEST_TIMEOUT", TOO_SLOW)).encode().ljust(BODY_BYTES)
        headers = [("content-type", MEDIA_TYPE), ("cache-control", "no-store"), ("connection", "close")]
        self._protocol.response_bytes(408, headers, text)


def _limit(size: int | None) -> tuple[int, ...]:
    """The server's stream knows no other word for all of it than none."""
    return () if size is None or size < 0 else (size,)
