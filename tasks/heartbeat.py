"""A worker proves that it works: it sends itself a message, through Redis and to a queue of its own, every few seconds.

The task that takes it stamps a row (`/readyz` counts these). Sweeps prove it of some worker only: where several are
idle, Redis may hand them to the same one for half a minute.
"""

import logging
import threading
from uuid import uuid4

from kombu.entity import Queue
from redis import Redis

from adapters.process.logs import LogThrottle
from tasks.wakeups import message_to

log = logging.getLogger(__name__)

TASK = "tasks.maintenance.alive"
EVERY_SECONDS = 3.0
# After this Redis forgets the message of a worker that ended.
KEPT_SECONDS = 60
WARN_EVERY = 10.0

_PROCESS = uuid4()
# Not declared: it has no binding that would stay in Redis. Its messages come without an exchange.
QUEUE = Queue(f"alive.{_PROCESS.hex}", no_declare=True)  # type: ignore[no-untyped-call]


class Heartbeat:
    """`redis`: the broker; used by this object's thread alone."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def _run(self) -> None:
        warning, pause = LogThrottle(WARN_EVERY), threading.Event()
        while True:
            try:
                self._beat()
            except Exception as error:  # Redis may be away: the next one may find it
                if warning.now():
                    log.warning("the worker could not send itself a message: %s", error)
            pause.wait(EVERY_SECONDS)

    def _beat(self) -> None:
        _, message = message_to(TASK, _PROCESS)
        with self._redis.pipeline() as pipe:
            # One at a time: what was not taken is not sent again beside it.
            pipe.delete(QUEUE.name)
            pipe.lpush(QUEUE.name, message)
            pipe.expire(QUEUE.name, KEPT_SECONDS)
            pipe.execute()
