"""Work in flight of a process that no thread waits for. A few threads record its results.

Once a second a query may find work that is not wanted any more, and it is cancelled.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

# Seconds that work may run after it was cancelled elsewhere.
_WATCH_SECONDS = 1.0


class Job(Protocol):
    """Work that ends with a future. It calls `record` or `abandon`, then `release`."""

    def start(self) -> "Future[Any]":
        """Begin the work. It raises nothing: without a future, the job would be in flight for good."""

    def record(self, future: "Future[Any]") -> None:
        """Record the end of the work. The future is cancelled if the work was not wanted any more."""

    def abandon(self) -> None:
        """Note that the work was cancelled, although it is still wanted. Any thread may call it."""

    def release(self) -> None:
        """Free all that the job held, after any end."""


J = TypeVar("J", bound=Job)


@dataclass(slots=True, eq=False)
class _InFlight(Generic[J]):
    job: J
    future: "Future[Any] | None" = None
    unwanted: bool = False


class FuturePool(Generic[J]):
    """The jobs in flight.

    Args:
        recorders: threads that record results.
        unwanted: returns those of the given jobs that have to be cancelled. None: none ever has to be.
    """

    def __init__(self, name: str, recorders: int, unwanted: Callable[[list[J]], Iterable[J]] | None = None) -> None:
        self._name = name
        self._running: set[_InFlight[J]] = set()
        self._changed = threading.Condition()
        self._ended: queue.SimpleQueue[tuple[_InFlight[J], Future[Any]]] = queue.SimpleQueue()
        for number in range(recorders):
            threading.Thread(target=self._record_all, name=f"{name}-results-{number}", daemon=True).start()
        if unwanted is not None:
            threading.Thread(target=self._watch, args=(unwanted,), name=f"{name}-watch", daemon=True).start()

    def begin(self, job: J) -> None:
        """Begin the job, and return at once."""
        running = _InFlight(job)
        with self._changed:
            self._running.add(running)
            self._changed.notify_all()
        running.future = job.start()
        running.future.add_done_callback(lambda future: self._end(running, future))

    def drain(self) -> None:
        """Wait until all jobs are recorded."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _end(self, running: _InFlight[J], future: "Future[Any]") -> None:
        if not future.cancelled() or running.unwanted:
            self._ended.put((running, future))
            return
        # The process ends by force, or a library cancelled the work.
        try:
            running.job.abandon()
        finally:
            self._let_go(running)

    def _let_go(self, running: _InFlight[J]) -> None:
        try:
            running.job.release()
        finally:
            with self._changed:
                self._running.discard(running)
                self._changed.notify_all()

    def _record_all(self) -> None:
        while True:
            running, future = self._ended.get()
            try:
                running.job.record(future)
            except Exception:
                log.exception("a result could not be recorded")
            finally:
                self._let_go(running)

    def _watch(self, find_unwanted: Callable[[list[J]], Iterable[J]]) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running)
                running = list(self._running)
            pause.wait(_WATCH_SECONDS)
            try:
                unwanted = set(find_unwanted([each.job for each in running]))
            except Exception as error:  # the database may be away; the next query may succeed
                log.warning("could not query for cancelled %s: %s", self._name, type(error).__name__)
                continue
            for each in running:
                if each.job in unwanted and each.future is not None:
                    each.unwanted = True
                    each.future.cancel()
