"""Wake-ups between processes over Redis pub/sub: "something about this pause has changed, look again".

Best effort in both directions. A wake-up that is lost only delays: the listener asks the database anyway, in one query
for everything that is waited for here, every few seconds.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from redis import Redis

from adapters.process.logs import LogThrottle
from domain.values.ids import INBOX

log = logging.getLogger(__name__)

CHANNEL = "sagahold:wake"
# Between two looks into the database for what the channel may have lost. Seconds.
RECHECK_EVERY = 3.0
# After Redis refused: long enough not to spin, short enough that wake-ups are soon back. Seconds.
RECONNECT_AFTER = 1.0
# Between two warnings while Redis is away. Seconds.
WARN_EVERY = 10.0


def connect(url: str) -> Redis:
    """A client whose calls give up soon: nobody's request waits for Redis."""
    return Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, health_check_interval=5)


class ChangeSubscriber:
    """One per web process: one subscription, and the held requests that it wakes.

    Args:
        redis: used by this object's thread alone.
        recheck: given the ids that are waited for, returns those that have changed. Of `INBOX` it cannot know, and
            says so always: whoever watches all reviews looks again each time.
    """

    def __init__(self, redis: Redis, recheck: Callable[[Sequence[UUID]], Sequence[UUID]]) -> None:
        self._redis = redis
        self._recheck = recheck
        self._lock = threading.Lock()
        self._waiting: dict[UUID, set[threading.Event]] = {}
        self._owners: Counter[str | None] = Counter()
        self._held = 0
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="wake-listen", daemon=True),
            threading.Thread(target=self._look, name="wake-recheck", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wake everyone, so that held requests end at once."""
        self._stopped.set()
        with self._lock:
            ids = list(self._waiting)
        self._wake(ids)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def waiting(self) -> int:
        """How many requests are held."""
        return self._held

    def waiting_of(self, owner: str) -> int:
        """How many of them are this key's or person's."""
        with self._lock:
            return self._owners[owner]

    @contextmanager
    def listening(self, *ids: UUID, owner: str | None = None) -> Iterator[threading.Event]:
        """The event is set at each change of one of them. Look at the state after entering, or a change just before is
        missed."""
        event, wanted = threading.Event(), set(ids)
        with self._lock:
            self._held += 1
            self._owners[owner] += 1
            for id_ in wanted:
                self._waiting.setdefault(id_, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._held -= 1
                self._owners[owner] -= 1
                if not self._owners[owner]:
                    del self._owners[owner]
                for id_ in wanted:
                    events = self._waiting[id_]
                    events.discard(event)
                    if not events:
                        del self._waiting[id_]

    def _wake(self, ids: Sequence[UUID]) -> None:
        """Whatever changed, it concerns those who watch all reviews."""
        with self._lock:
            events = [event for id_ in {*ids, INBOX} for event in self._waiting.get(id_, ())]
        for event in events:
            event.set()

    def _listen(self) -> None:
        warning = LogThrottle(WARN_EVERY)
        while not self._stopped.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(CHANNEL)
                    while not self._stopped.is_set():
                        if message := pubsub.get_message(timeout=1.0):
                            self._wake(_parse(message["data"]))
            except Exception as error:  # a client's own errors too: nobody would start this thread again
                if warning.now():
                    log.warning("no wake-ups from Redis, held requests see changes later: %s", error)
                self._stopped.wait(RECONNECT_AFTER)

    def _look(self) -> None:
        while not self._stopped.wait(RECHECK_EVERY):
            with self._lock:
                ids = list(self._waiting)
            if not ids:
                continue
            try:
                self._wake(self._recheck(ids))
            except Exception as error:  # the database may be away, for any of its reasons; the next look may find it
                log.warning("could not look for changes: %s", type(error).__name__)


def send(redis: Redis, ids: Sequence[UUID]) -> None:
    """Raises RedisError when Redis does not answer within its short timeout."""
    redis.publish(CHANNEL, ",".join(id_.hex for id_ in ids))


def _parse(data: bytes) -> list[UUID]:
    """Nothing, when the text is none of ours: whoever can write to our Redis must not be able to stop the listener."""
    try:
        return [UUID(hex=part) for part in data.decode("ascii").split(",")]
    except ValueError:
        log.warning("a wake-up that is no list of ids was ignored")
        return []
