"""Publishing of wake-ups after a commit, on separate threads, so that no request or task waits for Redis.

If Redis is slow or unreachable, wake-ups are dropped instead of queued, and a sweep finds their rows.
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

WakeUpT = TypeVar("WakeUpT")

# Commits that may wait for the publishing thread. With more, Redis cannot keep up, and sweeps do better.
CAPACITY = 10_000
# Commits whose wake-ups are sent together. Under load, one message each took a fifth of the interpreter's time.
AT_ONCE = 100
# The time that an ending process may take to send its last wake-ups. Seconds.
CLOSE_WITHIN = 2.0
# Between two wake-ups of readers of the whole inbox, however many pauses change. Seconds.
INBOX_EVERY = 0.1
# One warning for so many failures: while Redis is unreachable, each commit fails.
WARN_EVERY = 100


class PublisherThread(Generic[WakeUpT]):
    """The threads that publish.

    Args:
        send: sends wake-ups to the task queue, and ids to the processes in which long polls wait for them. May raise.
        wake: wakes the long polls of this process. It must neither block nor raise.
    """

    def __init__(
        self,
        send: Callable[[Sequence[WakeUpT], Sequence[UUID]], None],
        wake: Callable[[Sequence[UUID]], None] = lambda ids: None,
    ) -> None:
        self._send = send
        self._wake = wake
        self._queue: queue.Queue[tuple[Sequence[WakeUpT], Sequence[UUID]] | None] = queue.Queue(CAPACITY)
        self._failures = 0
        self._inbox_changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()
        threading.Thread(target=self._wake_inbox, name="publisher-inbox", daemon=True).start()

    def publish(self, wakeups: Sequence[WakeUpT], wakes: Sequence[UUID]) -> None:
        if INBOX in wakes:
            # Usually no thread waits for this event, so setting it does not switch threads.
            self._inbox_changed.set()
            wakes = [id_ for id_ in wakes if id_ != INBOX]
        if not wakes and not wakeups:
            return
        if wakes:
            # Most agents wait in the process that decides. They need not wait for Redis.
            self._wake(wakes)
        try:
            self._queue.put_nowait((wakeups, wakes))
        except queue.Full:
            self._failed("the queue of wake-ups is full")

    def close(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(CLOSE_WITHIN)

    def _run(self) -> None:
        closing = False
        while not closing:
            queued = self._queued()
            closing = None in queued
            items = [item for item in queued if item is not None]
            if items:
                self._try([wakeup for item in items for wakeup in item[0]], [id_ for item in items for id_ in item[1]])

    def _queued(self) -> list[tuple[Sequence[WakeUpT], Sequence[UUID]] | None]:
        """Wait for the first commit, and return all that are queued then."""
        found = [self._queue.get()]
        with suppress(queue.Empty):
            while len(found) < AT_ONCE:
                found.append(self._queue.get_nowait())
        return found

    def _try(self, wakeups: Sequence[WakeUpT], wakes: Sequence[UUID]) -> None:
        try:
            self._send(wakeups, wakes)
        except Exception as error:  # Redis or its client may raise anything, and the rows are safe
            self._failed(f"{type(error).__name__}: {error}")

    def _wake_inbox(self) -> None:
        """Publish the first change at once and later ones at most every INBOX_EVERY, including the last."""
        while self._inbox_changed.wait():
            self._inbox_changed.clear()
            self._try([], [INBOX])
            time.sleep(INBOX_EVERY)

    def _failed(self, reason: str) -> None:
        if self._failures % WARN_EVERY == 0:
            log.warning("wake-ups were not sent, sweeps will find the work: %s", reason)
        self._failures += 1
