"""Jobs in flight: each end is recorded or abandoned, and frees what the job held."""

from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

from adapters.process.future_pool import FuturePool

# Generous, for a loaded machine.
SECONDS = 90.0


class Job:
    """Ends when its future does. `log` receives what the pool calls, in order."""

    def __init__(self, log: "SimpleQueue[tuple[str, Any]]", broken: bool = False) -> None:
        self.future: Future[str] = Future()
        self.log, self.broken, self.wanted = log, broken, True

    def start(self) -> "Future[str]":
        return self.future

    def record(self, future: "Future[Any]") -> None:
        try:
            self.log.put(("recorded", future.result()))
        except CancelledError:
            self.log.put(("recorded", None))
        if self.broken:
            raise RuntimeError("cannot be recorded")

    def abandon(self) -> None:
        self.log.put(("abandoned", None))

    def release(self) -> None:
        self.log.put(("released", None))


@pytest.fixture(scope="module")
def pool() -> FuturePool[Job]:
    return FuturePool("jobs", 4, lambda jobs: [job for job in jobs if not job.wanted])


@pytest.fixture
def log() -> "SimpleQueue[tuple[str, Any]]":
    return SimpleQueue()


def ends(log: "SimpleQueue[tuple[str, Any]]", pool: FuturePool[Job]) -> list[tuple[str, Any]]:
    """The calls of the only job, once the pool has forgotten it."""
    found = [log.get(timeout=SECONDS), log.get(timeout=SECONDS)]
    draining = Thread(target=pool.drain, daemon=True)
    draining.start()
    draining.join(SECONDS)
    assert not draining.is_alive(), "it is still in flight"
    assert log.empty()
    return found


def test_a_result(log: "SimpleQueue[tuple[str, Any]]", pool: FuturePool[Job]) -> None:
    """More results that cannot be recorded than the pool has threads stop none of them."""
    for broken in (False, *[True] * 8, False):
        job = Job(log, broken)
        pool.begin(job)
        job.future.set_result("done")
        assert ends(log, pool) == [("recorded", "done"), ("released", None)]


def test_a_job_that_is_not_wanted_any_more(log: "SimpleQueue[tuple[str, Any]]", pool: FuturePool[Job]) -> None:
    job = Job(log)
    pool.begin(job)
    job.wanted = False
    assert ends(log, pool) == [("recorded", None), ("released", None)]


def test_a_job_that_is_cancelled_and_still_wanted(log: "SimpleQueue[tuple[str, Any]]", pool: FuturePool[Job]) -> None:
    job = Job(log)
    pool.begin(job)
    job.future.cancel()
    assert ends(log, pool) == [("abandoned", None), ("released", None)]
