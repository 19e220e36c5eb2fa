"""Latency from a decision to its waiters on an unloaded stack, one at a time. Seconds."""

import threading
import time
from contextlib import closing

from bench.receiver import Receiver
from bench.subject import Subject
from bench.wire import BenchError, Connection

# Longer than anything takes without load. Seconds.
LOST_AFTER = 90.0
# A long poll needs a few milliseconds until it waits; an earlier decision would give too short a latency. Seconds.
UNTIL_HELD = 0.02


def to_waiter(subject: Subject, samples: int) -> list[float]:
    """Measure from sending the decision to the response of the `?wait` long poll."""
    latencies = []
    with closing(Connection(subject.server)) as reviewer, closing(Connection(subject.server)) as agent:
        for watch_id in subject.park(samples):
            waiting = _Waiter(agent, subject.reading(watch_id, wait=30))
            time.sleep(UNTIL_HELD)
            sent = time.perf_counter()
            reviewer.call(subject.approval(watch_id))
            latencies.append(waiting.answered_at() - sent)
    return latencies


def to_webhook(subject: Subject, samples: int) -> list[float]:
    """Measure from sending the decision to the arrival of the whole webhook."""
    latencies = []
    with Receiver() as receiver, closing(Connection(subject.server)) as reviewer:
        for watch_id in subject.park(samples, receiver.url):
            sent = time.perf_counter()
            reviewer.call(subject.approval(watch_id))
            latencies.append(receiver.wait_for(watch_id, LOST_AFTER) - sent)
            # The worker records a delivery after its arrival; that must not overlap the next decision.
            time.sleep(UNTIL_HELD)
    return latencies


class _Waiter:
    """An agent's long poll, on a thread that notes the time of its response."""

    def __init__(self, connection: Connection, request: bytes) -> None:
        self._at = 0.0
        self._thread = threading.Thread(target=self._run, args=(connection, request), daemon=True)
        self._thread.start()

    def answered_at(self) -> float:
        self._thread.join(LOST_AFTER)
        if not self._at:
            raise BenchError("a held request was not answered with the decision")
        return self._at

    def _run(self, connection: Connection, request: bytes) -> None:
        body = connection.call(request)
        at = time.perf_counter()
        if b'"status":"approved"' in body:
            self._at = at
