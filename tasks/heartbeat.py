"""Heartbeat of a worker: every few seconds it sends itself a message through Redis, to its own queue.

The task that receives it stamps a row, and `/readyz` counts these rows. Sweeps are not enough, because they prove only
that some worker runs: Redis may hand them to the same idle worker for half a minute.
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
# After this, Redis drops the message of a worker that has ended.
KEPT_SECONDS = 60
WARN_EVERY = 10.0

_PROCESS = uuid4()
# Not declared, because a binding would remain in Redis. Its messages need no exchange.
QUEUE = Queue(f"alive.{_PROCESS.hex}", no_declare=True)  # type: ignore[no-untyped-call]


class Heartbeat:
    """A thread that sends the heartbeat. Only this thread uses `redis`, the broker."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        warning, pause = LogThrottle(WARN_EVERY), threading.Event()
        while True:
            try:
                self._beat()
            except Exception as error:  # Redis may be unreachable; the next beat tries again
                if warning.now():
                    log.warning("the worker could not send itself a message: %s", error)
            pause.wait(EVERY_SECONDS)

    def _beat(self) -> None:
        _, message = message_to(TASK, _PROCESS)
        with self._redis.pipeline() as pipe:
            # Only one message at a time: a new one replaces the one that was not received.
            pipe.delete(QUEUE.name)
            pipe.lpush(QUEUE.name, message)
            pipe.expire(QUEUE.name, KEPT_SECONDS)
            pipe.execute()
