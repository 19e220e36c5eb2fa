"""Redis forgets everything, PostgreSQL is restarted, web is killed, with many sagas in flight and people deciding."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from cli.devstack import Stack
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import until
from tests.faults.test_web import kill_web

# Sagas in all, some of which have ended at the failure, and those in flight: more than a worker has threads (60).
SAGAS, IN_FLIGHT = 96, 80
CLIENTS = 8


@pytest.fixture
def scene(fragile: Stack) -> Iterator[SagaScene]:
    with SagaScene(fragile) as scene:
        scene.deploy_saga(
            "buy",
            step("one", "charge_once", **undo("reverse_once")),
            step("two", "charge", hitl=True, **undo("reverse")),
        )
        yield scene


class Crowd:
    """Many sagas of one tool call, a held step and another call, or the undo of the first call after a rejection.

    The first tool and its undo may not be repeated. No failure here kills a worker, so none has to be.
    """

    def __init__(self, scene: SagaScene) -> None:
        self._scene = scene
        self._decided: set[str] = set()
        self._all = threading.Event()
        self.customers: dict[str, str] = {}  # by trace id

    def start(self) -> None:
        names = [f"c{number}" for number in range(SAGAS)]
        with ThreadPoolExecutor(CLIENTS) as clients:
            traces = clients.map(lambda name: self._scene.start_saga("buy", customer=name), names)
            self.customers = dict(zip(traces, names, strict=True))

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Decide each held step within the block as it appears; after the block, all are decided.

        Before it, so few have ended that the others are still in flight, however long the query takes.
        """
        person = self._scene.start(self._decide)
        until("some have ended", lambda: self.ended >= 5 or person.done())
        assert SAGAS - self.ended >= IN_FLIGHT
        self._all.set()
        yield
        person.result()

    def _decide(self) -> None:
        with ThreadPoolExecutor(CLIENTS) as people:
            until("all are decided", lambda: self._decide_some(people) == SAGAS)

    def _decide_some(self, people: ThreadPoolExecutor) -> int:
        new = [(trace, span) for trace, span in self._scene.for_review() if trace not in self._decided]
        if not self._all.is_set():
            del new[max(0, SAGAS - IN_FLIGHT - len(self._decided)) :]
        for _ in people.map(lambda held: self._scene.order("reviewer", *held, self.verdict(held[0])), new):
            pass
        self._decided.update(trace for trace, _ in new)
        return len(self._decided)

    def verdict(self, trace_id: str) -> str:
        return ("approve", "reject")[int(self.customers[trace_id][1:]) % 2]

    @property
    def ended(self) -> int:
        return self._scene.truth.count("sagas", "ended_at IS NOT NULL")

    def operate(self) -> int:
        """An operator looks into the ledger about each unknown outcome; returns how many there were."""
        query = "SELECT id FROM sagas WHERE namespace = %s AND needs_operator"
        unknown = [row["id"].replace("-", "") for row in self._scene.truth.rows(query)]
        for trace_id in unknown:
            steps = self._scene.saga(trace_id)["steps"]
            (lost,) = [step for step in steps if step["status"] == "IN_PROGRESS"]
            tool = (
                "reverse_once"
                if lost["compensates_span_id"]
                else {"one": "charge_once", "two": "charge"}[lost["step_id"]]
            )
            self._scene.resolve(trace_id, lost, done=tool in self._scene.ledger.entries(self.customers[trace_id]))
        return len(unknown)

    def check(self) -> None:
        """Each ended as was decided, and the ledger shows each effect once."""
        for trace_id, customer in self.customers.items():
            status, entries = self._scene.saga(trace_id)["status"], self._scene.ledger.entries(customer)
            if self.verdict(trace_id) == "approve":
                assert (status, entries) == ("COMPLETED", ["charge_once", "charge"]), trace_id
            else:
                assert (status, entries) == ("COMPENSATED", ["charge_once", "reverse_once"]), trace_id


def test_redis_flushed_with_many_sagas_in_flight(scene: SagaScene) -> None:
    crowd = Crowd(scene)
    crowd.start()
    with crowd.deciding():
        with redis.Redis.from_url(scene.stack.redis_url) as client:
            client.flushall()
        scene.stack.kill("redis", signal.SIGKILL)
        scene.mark_failure()
    scene.settle("Redis flushed and killed")
    assert crowd.operate() == 0
    assert scene.truth.domain_errors == 0
    crowd.check()
    scene.check_logs()


def test_postgres_restarted_with_many_sagas_in_flight(scene: SagaScene) -> None:
    crowd = Crowd(scene)
    crowd.start()
    with crowd.deciding():
        scene.stack.kill("postgres", signal.SIGKILL)
        scene.mark_failure()
    scene.settle("PostgreSQL killed")
    unknown = crowd.operate()
    print(f"unknown outcomes: {unknown}")
    scene.settle("a person says what came of the calls")
    crowd.check()
    scene.check_logs()


def test_web_killed_right_after_it_accepted_a_decision(scene: SagaScene) -> None:
    """Redis is frozen, so no wake-up was sent, and the sweep finds the row."""
    trace_id = scene.start_saga("buy", customer="c0")
    scene.reads_as(trace_id, "AWAITING_HUMAN")
    ((_, span),) = scene.for_review()
    pid = scene.stack.pid("redis")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert scene.order("reviewer", trace_id, span, "approve")["status"] == "queued"
        kill_web(scene)
        scene.mark_failure()
    finally:
        os.kill(pid, signal.SIGCONT)
    scene.reads_as(trace_id, "COMPLETED")
    scene.settle("web killed after a decision")
    assert scene.ledger.entries("c0") == ["charge_once", "charge"]
