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

# Keys in a request's WSGI environment: its `Wait`, the time of its arrival from `time.perf_counter`, and, in the run
# that has to refuse it, True.
WAIT, BEGAN, LATE = "sagahold.wait", "sagahold.began", "sagahold.late"
# Threads that run parked requests again. As many as the default of a process's database connections.
THREADS = 16
# Seconds from a request's deadline until it is refused, because all threads may hang while the database is silent. The
# pool of connections has the same timeout, and our clients wait 15 s longer than they ask the server to.
LATE_AFTER = 10.0

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

    __slots__ = (
        *("_answered", "_changed", "_due", "_ids", "_owner", "_parking", "_resting", "_serve", "_subscriber"),
        "until",
    )

    def __init__(self, parking: "Parking", serve: "partial[Any]") -> None:
        self._parking = parking
        self._serve: partial[Any] | None = serve
        self._subscriber: ChangeSubscriber | None = None
        self._ids: Sequence[UUID] = ()
        self._owner: str | None = None
        self._answered = self._changed = self._due = self._resting = False
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
        self._parking.time(self, self.until)

    def set(self) -> None:
        """Run again: now if the request is parked, or when it is."""
        with self._parking.lock:
            if self._resting:
                self._resting = False
                self._parking.ready.put(self)
            else:
                self._changed = True

    def pass_deadline(self) -> None:
        """Run again at the deadline, and refuse the request if no run has answered it some time later."""
        serve = self._serve
        if serve is None:
            return
        if not self._due:
            self._due = True
            self.set()
            self._parking.time(self, time.monotonic() + self._parking.late_after)
        else:
            serve.args[1][LATE] = True
            self.run()

    def answer(self) -> None:
        """Let the calling run answer the request. Raise `Parked` if another run has."""
        with self._parking.lock:
            if self._answered:
                raise Parked
            self._answered = True

    def run(self) -> Any:
        serve = self._serve
        if serve is None:  # it was refused before its turn came
            return None
        self._changed = False
        try:
            result = serve()
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
            if self._answered:
                return
            if self._changed:
                self._parking.ready.put(self)
            else:
                self._resting = True

    def _leave(self) -> None:
        with self._parking.lock:
            # The timer still refers to this object, which must not keep the request.
            serve, self._serve = self._serve, None
        if serve is not None and self._subscriber is not None:
            self._subscriber.leave(self, self._ids, self._owner)


class Parking:
    """The parked requests of one process."""

    def __init__(self, late_after: float = LATE_AFTER) -> None:
        self.late_after = late_after
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

    def time(self, wait: Wait, at: float) -> None:
        """Call `wait.pass_deadline` at this time of `time.monotonic`."""
        with self.lock:
            heapq.heappush(self._deadlines, (at, next(self._numbers), wait))
            if self._deadlines[0][2] is wait:
                self.lock.notify()

    def _watch_deadlines(self) -> None:
        while True:
            with self.lock:
                while not self._deadlines or self._deadlines[0][0] > time.monotonic():
                    self.lock.wait(self._deadlines[0][0] - time.monotonic() if self._deadlines else None)
                wait = heapq.heappop(self._deadlines)[2]
            _try(wait.pass_deadline)
            # Without this, the thread would keep the last request while it waits for the next.
            del wait

    def _run_again(self) -> None:
        while True:
            wait = self.ready.get()
            _try(wait.run)
            del wait


def _try(run: Callable[[], Any]) -> None:
    try:
        run()
    except Exception:  # the server answers 500, because nothing refers to the request any more
        log.exception("a parked request failed")
