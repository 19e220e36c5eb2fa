"""Many agents that wait on one web process: the cost, and the time until all are answered."""

import asyncio
import threading
import time
from dataclasses import dataclass
from itertools import islice

from bench.load import Load, drive
from bench.memory import of_tree, threads_of_tree
from bench.subject import Subject
from bench.wire import BenchError, check, missing
from cli.devstack.waiting import wait_until

# All must be answered within this. Seconds; the limit of the requests themselves is 60.
WAIT = 60
# Clients that decide the pauses.
DECIDERS = 8


@dataclass(frozen=True)
class Held:
    """The figures of one web process with many long polls.

    Attributes:
        others: other requests (creating pauses, one client) while all wait.
        all_answered: seconds from the first decision to the last agent's answer.
        answered: from the first decision to each agent's answer.
    """

    waiters: int
    memory: float
    threads: int
    connections: int
    active_connections: int
    others: Load
    all_answered: float


def held(subject: Subject, number: int, seconds: float) -> Held:
    watch_ids = subject.park(number)
    agents = _Agents(subject, watch_ids)
    if not wait_until(lambda: subject.metric("sagahold_held_requests") == number or agents.failed, WAIT / 2):
        raise BenchError(f"{subject.metric('sagahold_held_requests'):.0f} of {number} requests are held")
    web = subject.stack.pid("web")
    assert web is not None
    there, active = subject.web_connections()
    others = drive(subject.server, 1, subject.creations(), seconds, warm_up=0)
    memory, threads = of_tree(web), threads_of_tree(web)
    began = time.perf_counter()
    drive(subject.server, DECIDERS, islice(subject.approvals(watch_ids), number), WAIT, warm_up=0)
    return Held(number, memory, threads, there, active, others, max(agents.answered()) - began)


class _Agents:
    """Long polls on the event loop of one thread."""

    def __init__(self, subject: Subject, watch_ids: list[str]) -> None:
        self._address = subject.server.address
        self._requests = [subject.reading(watch_id, WAIT) for watch_id in watch_ids]
        self._error: Exception | None = None
        self._answered: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        return self._error is not None

    def answered(self) -> list[float]:
        """Return when each long poll was answered. Raises the first error."""
        self._thread.join(WAIT * 2)
        if self._error is not None:
            raise self._error
        return self._answered

    def _run(self) -> None:
        try:
            self._answered = asyncio.run(self._all())
        except Exception as error:  # told on the main thread
            self._error = error

    async def _all(self) -> list[float]:
        return await asyncio.gather(*map(self._one, self._requests))

    async def _one(self, request: bytes) -> float:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(request)
            answer = b""
            while missing(answer):
                data = await reader.read(65_536)
                if not data:
                    raise BenchError("the server closed a held request")
                answer += data
            at = time.perf_counter()
            check(answer)
            if b'"status":"approved"' not in answer:
                raise BenchError("a held request ended without the decision")
            return at
        finally:
            writer.close()
