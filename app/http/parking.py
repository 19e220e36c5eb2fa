"""Long polls without a thread each: a request that has to wait is parked, and runs again when it may be answered.

The server (granian) answers through an object that outlives its call of the application, so another thread may answer
later ([ADR 33](docs/adr/0033-parked-long-polls.md)). Only a GET without a body is parked, because it can run twice.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from adapters.redis.pubsub import ChangeSubscriber

log = logging.getLogger(__name__)

# Keys in a request's WSGI environment: its `Wait`, and the time of its arrival from `time.perf_counter`.
WAIT, BEGAN = "sagahold.wait", "sagahold.began"
# Threads that run parked requests again. As many as the default of a process's database connections.
THREADS = 16

Serve = Callable[[Any, dict[str, Any]], Any]
# Write a line: the time of arrival from `time.time` and from `time.perf_counter`, the scope, and the status.
AccessLog = Callable[[float, float, dict[str, Any], int], None]


class Parked(BaseException):
    """The end of a run without a response. It is no `Exception`, so that no error handler answers the request."""


def with_access_log(serve: Serve, write: AccessLog) -> Serve:
    """Wrap the function within `Parking.around`: log each response once, with the time since the request's arrival."""

    def logged(protocol: Any, scope: dict[str, Any]) -> Any:
        status = 500
        try:
            status = serve(protocol, scope)
        except Parked:
            status = 0
            raise
        finally:
            if status:
                write(time.time() - (time.perf_counter() - scope[BEGAN]), scope[BEGAN], scope, status)
        return status

    return logged


class Wait:
    """A request that may be parked, from its arrival to its response."""

    __slots__ = ("_changed", "_ids", "_owner", "_parking", "_resting", "_serve", "_subscriber", "_timed", "until")

    def __init__(self, parking: "Parking", serve: Callable[[], Any]) -> None:
        self._parking = parking
        self._serve: Callable[[], Any] | None = serve
        self._subscriber: ChangeSubscriber | None = None
        self._ids: Sequence[UUID] = ()
        self._owner: str | None = None
        self._changed = self._resting = self._timed = False
        # From `time.monotonic`.
        self.until = 0.0

    @property
    def joined(self) -> bool:
        """Tell whether an earlier run has joined."""
        return self._subscriber is not None

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until

    def join(self, subscriber: ChangeSubscriber, ids: Sequence[UUID], owner: str, seconds: float) -> None:
        """Run again at each change of one of the ids, and when the time is over. Read the state after this call."""
        if self.joined:
            return
        self.until = time.monotonic() + seconds
        self._subscriber, self._ids, self._owner = subscriber, ids, owner
        subscriber.join(self, ids, owner)

    def set(self) -> None:
        """Run again: now if the request is parked, or when it is."""
        with self._parking.lock:
            if self._resting:
                self._resting = False
                self._parking.ready.put(self)
            else:
                self._changed = True

    def run(self) -> Any:
        assert self._serve is not None, "a request that is answered does not run"
        self._changed = False
        try:
            result = self._serve()
        except Parked:
            self._rest()
            return None
        except BaseException:
            self._leave()
            raise
        self._leave()
        return result

    def _rest(self) -> None:
        with self._parking.lock:
            if not self._timed:
                self._timed = True
                self._parking.time(self)
            if self._changed:
                self._parking.ready.put(self)
            else:
                self._resting = True

    def _leave(self) -> None:
        # The timer still refers to this object, which must not keep the request.
        self._serve = None
        if self._subscriber is not None:
            self._subscriber.leave(self, self._ids, self._owner)


class Parking:
    """The parked requests of one process."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.ready: SimpleQueue[Wait] = SimpleQueue()
        self._deadlines: list[tuple[float, int, Wait]] = []
        # Tells deadlines at the same time apart, because waits have no order.
        self._numbers = itertools.count()
        for number in range(THREADS):
            threading.Thread(target=self._run_again, name=f"parked-{number}", daemon=True).start()
        threading.Thread(target=self._watch_deadlines, name="parked-deadlines", daemon=True).start()

    def around(self, serve: Serve) -> Serve:
        """Wrap the server's function that calls the application and passes on its response."""

        def run(protocol: Any, scope: dict[str, Any]) -> Any:
            scope[BEGAN] = time.perf_counter()
            body = scope.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in scope
            if body or scope["REQUEST_METHOD"] != "GET":
                return serve(protocol, scope)
            wait = Wait(self, partial(serve, protocol, scope))
            scope[WAIT] = wait
            return wait.run()

        return run

    def time(self, wait: Wait) -> None:
        """Run the request again at its deadline. The caller holds the lock."""
        heapq.heappush(self._deadlines, (wait.until, next(self._numbers), wait))
        if self._deadlines[0][2] is wait:
            self.lock.notify()

    def _watch_deadlines(self) -> None:
        with self.lock:
            while True:
                while self._deadlines and self._deadlines[0][2].is_over:
                    heapq.heappop(self._deadlines)[2].set()
                self.lock.wait(self._deadlines[0][0] - time.monotonic() if self._deadlines else None)

    def _run_again(self) -> None:
        while True:
            wait = self.ready.get()
            try:
                wait.run()
            except Exception:  # the server answers 500, because nothing refers to the request any more
                log.exception("a parked request failed")
            # Without this, the thread would keep the last request while it waits for the next.
            del wait
