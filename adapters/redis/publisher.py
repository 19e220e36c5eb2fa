"""Publishes what a commit has set off, on threads of its own: no request and no task waits for Redis.

When Redis is slow or away, signals are dropped, not queued up: the rows behind them are found by a sweep.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar
from uuid import UUID

from domain.values.ids import INBOX

log = logging.getLogger(__name__)

HintT = TypeVar("HintT")
SentT = TypeVar("SentT")

# Signals that may wait for the publishing thread; beyond that Redis is not keeping up, and sweeps serve better.
CAPACITY = 10_000
# Commits whose signals go out together: under load, a message each took a fifth of the interpreter's time.
AT_ONCE = 100
# How long a process that ends may take to send what it still has. Seconds.
CLOSE_WITHIN = 2.0
# Between two wake-ups of those who watch all reviews: a thousand new ones a second are one piece of news. Seconds.
INBOX_EVERY = 0.1
# One warning in so many failures: while Redis is away there is one a commit.
WARN_EVERY = 100


class PublisherThread(Generic[HintT]):
    """Args:
    send_hints: hands hints to the task queue. May raise.
    send_wakes: wakes the requests that wait for these ids. May raise.
    """

    def __init__(
        self, send_wakeups: Callable[[Sequence[HintT]], None], send_wakes: Callable[[Sequence[UUID]], None]
    ) -> None:
        self._send_wakeups = send_wakeups
        self._send_wakes = send_wakes
        self._queue: queue.Queue[tuple[Sequence[HintT], Sequence[UUID]] | None] = queue.Queue(CAPACITY)
        self._failures = 0
        self._inbox_changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()
        threading.Thread(target=self._wake_inbox, name="signals-inbox", daemon=True).start()

    def publish(self, wakeups: Sequence[HintT], wakes: Sequence[UUID]) -> None:
        if INBOX in wakes:
            # Mostly with nobody waiting for this event, so that a request does not hand the interpreter over.
            self._inbox_changed.set()
            wakes = [id_ for id_ in wakes if id_ != INBOX]
            if not wakes and not wakeups:
                return
        try:
            self._queue.put_nowait((wakeups, wakes))
        except queue.Full:
            self._failed("the queue of signals is full")

    def close(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(CLOSE_WITHIN)

    def _run(self) -> None:
        told_to_end = False
        while not told_to_end:
            queued = self._queued()
            told_to_end = None in queued
            items = [item for item in queued if item is not None]
            # Waiting agents first: a worker is not in a hurry of milliseconds.
            if wakes := [id_ for item in items for id_ in item[1]]:
                self._try(self._send_wakes, wakes)
            if wakeups := [hint for item in items for hint in item[0]]:
                self._try(self._send_wakeups, wakeups)

    def _queued(self) -> list[tuple[Sequence[HintT], Sequence[UUID]] | None]:
        """What has come, once something has."""
        found = [self._queue.get()]
        with suppress(queue.Empty):
            while len(found) < AT_ONCE:
                found.append(self._queue.get_nowait())
        return found

    def _try(self, send: Callable[[Sequence[SentT]], None], what: Sequence[SentT]) -> None:
        try:
            send(what)
        except Exception as error:  # whatever Redis or the queue's client throws: the rows are safe
            self._failed(f"{type(error).__name__}: {error}")

    def _wake_inbox(self) -> None:
        """At once after a quiet time, then every so often; the last change is told of too."""
        while self._inbox_changed.wait():
            self._inbox_changed.clear()
            try:
                self._send_wakes([INBOX])
            except Exception as error:  # as above; who watches looks again every few seconds anyway
                self._failed(f"{type(error).__name__}: {error}")
            time.sleep(INBOX_EVERY)

    def _failed(self, reason: str) -> None:
        if self._failures % WARN_EVERY == 0:
            log.warning("signals not sent, sweeps will find the work: %s", reason)
        self._failures += 1
