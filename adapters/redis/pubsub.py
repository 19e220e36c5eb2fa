"""Wake-ups between processes over Redis pub/sub: a pause has changed, so read it again.

Delivery is best effort. A lost wake-up only delays, because the subscriber also queries the database every few seconds
for everything that its long polls wait for.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from redis import Redis

from adapters.process.logs import LogThrottle
from domain.values.ids import INBOX

log = logging.getLogger(__name__)

CHANNEL = "sagahold:wake"
# Between two queries for changes whose wake-ups were lost. Seconds.
RECHECK_EVERY = 3.0
# After an error of Redis: long enough not to spin, short enough to resume soon. Seconds.
RECONNECT_AFTER = 1.0
# Between two warnings while Redis is unreachable. Seconds.
WARN_EVERY = 10.0


class Waiter(Protocol):
    """The event of a thread that waits, or a parked request."""

    def set(self) -> None: ...


class ChangeSubscriber:
    """The subscription of one web process, and the long polls that it wakes.

    Args:
        redis: used only by this object's thread.
        recheck: returns which of the given ids have changed. It always returns `INBOX`, because it cannot know, so
            readers of the inbox check again each time.
        count: called at each change with the number of long polls that wait.
    """

    def __init__(
        self,
        redis: Redis,
        recheck: Callable[[Sequence[UUID]], Sequence[UUID]],
        count: Callable[[int], None] = lambda waiting: None,
    ) -> None:
        self._redis = redis
        self._recheck = recheck
        self._count = count
        self._lock = threading.Lock()
        self._waiting: dict[UUID, set[Waiter]] = {}
        self._owners: Counter[str | None] = Counter()
        self._held = 0
        self._in_threads = 0
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="wake-listen", daemon=True),
            threading.Thread(target=self._recheck_all, name="wake-recheck", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wake all long polls, so that they end at once."""
        self._stopped.set()
        with self._lock:
            ids = list(self._waiting)
        self._wake(ids)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def waiting(self) -> int:
        """Return how many long polls wait."""
        return self._held

    @property
    def in_threads(self) -> int:
        """Return how many of them hold a thread."""
        return self._in_threads

    def waiting_of(self, owner: str) -> int:
        """Return how many of them belong to this key or person."""
        with self._lock:
            return self._owners[owner]

    def waiting_for(self, id_: UUID) -> int:
        """Return how many of them wait for this id."""
        with self._lock:
            return len(self._waiting.get(id_, ()))

    def sleep(self, seconds: float) -> None:
        """Sleep; end at once when all long polls end."""
        self._stopped.wait(seconds)

    @contextmanager
    def listening(self, *ids: UUID, owner: str | None = None) -> Iterator[threading.Event]:
        """Yield an event that is set at each change of one of the ids.

        Read the state after entering, because a change before is missed.
        """
        event = threading.Event()
        self.join(event, ids, owner, threads=1)
        try:
            yield event
        finally:
            self.leave(event, ids, owner, threads=1)

    def join(self, waiter: Waiter, ids: Sequence[UUID], owner: str | None, threads: int = 0) -> None:
        """Set the waiter at each change of one of the ids, until it leaves. `threads`: how many it holds."""
        with self._lock:
            self._held += 1
            self._count(self._held)
            self._in_threads += threads
            self._owners[owner] += 1
            for id_ in ids:
                self._waiting.setdefault(id_, set()).add(waiter)

    def leave(self, waiter: Waiter, ids: Sequence[UUID], owner: str | None, threads: int = 0) -> None:
        """End `join`. The arguments are the same."""
        with self._lock:
            self._held -= 1
            self._count(self._held)
            self._in_threads -= threads
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]
            for id_ in set(ids):
                waiters = self._waiting[id_]
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[id_]

    def wake(self, ids: Sequence[UUID]) -> None:
        """Wake the long polls of this process that wait for these ids."""
        with self._lock:
            waiters = [waiter for id_ in ids for waiter in self._waiting.get(id_, ())]
        for waiter in waiters:
            waiter.set()

    def _wake(self, ids: Sequence[UUID]) -> None:
        """Wake the long polls for these ids, and all readers of the inbox."""
        self.wake([*{*ids, INBOX}])

    def _listen(self) -> None:
        warning = LogThrottle(WARN_EVERY)
        while not self._stopped.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(CHANNEL)
                    while not self._stopped.is_set():
                        if message := pubsub.get_message(timeout=1.0):
                            self._wake(_parse(message["data"]))
            except Exception as error:  # also the client's own errors, because this thread is never restarted
                if warning.now():
                    log.warning("no wake-ups from Redis, so long polls see changes later: %s", error)
                self._stopped.wait(RECONNECT_AFTER)

    def _recheck_all(self) -> None:
        while not self._stopped.wait(RECHECK_EVERY):
            with self._lock:
                ids = list(self._waiting)
            if not ids:
                continue
            try:
                self._wake(self._recheck(ids))
            except Exception as error:  # the database may be unavailable; the next query may succeed
                log.warning("could not query the database for changes: %s", type(error).__name__)


def send(redis: Redis, ids: Sequence[UUID]) -> None:
    """Publish the ids, or add this to a pipeline. Raises `RedisError` if Redis does not answer within its timeout."""
    redis.publish(CHANNEL, ",".join(id_.hex for id_ in ids))


def _parse(data: bytes) -> list[UUID]:
    """Return the ids, or none for an invalid message, which must not stop the listener."""
    try:
        return [UUID(hex=part) for part in data.decode("ascii").split(",")]
    except ValueError:
        log.warning("a wake-up that is not a list of ids was ignored")
        return []
