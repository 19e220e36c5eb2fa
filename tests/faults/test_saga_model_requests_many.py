"""A hundred model requests for one worker process: their cost, the wait for room, and a Redis that loses its data."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import redis

from cli.devstack import Stack
from tests.faults.model_scene import Mind, ModelScene, after, ended
from tests.faults.saga_scene import step
from tests.faults.scene import until
from tests.faults.test_saga_tools import peak
from tests.faults.test_who_is_missing import checks

# The limit of one process. Requests admitted at the same moment may exceed it, by at most one per thread.
ROOM, THREADS = 64, 16
# Beyond that; and for two workers: more than one of them takes.
MORE, FOR_TWO = 36, 72
OTHERS = 10
THINKING = """
    SELECT count(*) FROM saga_steps JOIN sagas ON sagas.id = saga_id
    WHERE namespace = %s AND step_id = 'two' AND saga_steps.status = 'IN_PROGRESS'
"""
MAY_HAVE = 600 * 1024 * 1024
# A worker has 50 to 70 threads, as its pools are more or less full. A thread for each request would make it 114.
MAY_RUN = 90


@pytest.fixture(scope="module")
def scene(fragile: Stack, mind: Mind) -> Iterator[ModelScene]:
    # A new process: its peak of memory is then that of these tests.
    fragile.stop_process("worker")
    fragile.start_process("worker")
    with ModelScene(fragile, mind) as scene:
        scene.deploy_reasoning("simple")
        scene.deploy_saga("other", step("one", "charge"))
        yield scene


def started(scene: ModelScene, name: str, count: int, go_on: threading.Event) -> dict[str, str]:
    """Trace ids by customer."""
    customers = [f"{name}-{number}" for number in range(count)]
    for customer in customers:
        scene.mind.plan(customer, answer=after(go_on))
    with ThreadPoolExecutor(8) as clients:
        traces = list(clients.map(lambda customer: scene.start_model_request("simple", customer), customers))
    return dict(zip(customers, traces, strict=True))


def thinks_about(scene: ModelScene, sagas: dict[str, str]) -> int:
    return sum(scene.mind.asked(customer) for customer in sagas)


def test_a_full_worker_goes_on_with_other_work(scene: ModelScene) -> None:
    worker = psutil.Process(scene.stack.pid("worker"))
    go_on = threading.Event()
    sagas = started(scene, "full", ROOM + MORE, go_on)
    until("it is full", lambda: thinks_about(scene, sagas) >= ROOM)
    others = [scene.start_saga("other", customer=f"other-{number}") for number in range(OTHERS)]
    ended(scene, *others)
    assert [scene.saga(trace_id)["status"] for trace_id in others] == ["COMPLETED"] * OTHERS
    threads = worker.num_threads()
    assert ROOM <= thinks_about(scene, sagas) == scene.mind.server.at_once < ROOM + THREADS
    scene.mark_failure()
    go_on.set()
    scene.settle("more thoughts than there is room for")
    print(f"{scene.mind.server.at_once} model requests at once: {peak(worker) >> 20} MB at most, {threads} threads")
    assert peak(worker) < MAY_HAVE
    assert threads < MAY_RUN
    check(scene, sagas)


def test_redis_killed_and_flushed_while_two_workers_think(scene: ModelScene) -> None:
    # The sagas come when both are there: a full worker that takes a wake-up leaves the saga for some seconds.
    until("one is there", lambda: checks(scene.stack)["workers"] == 1)
    other = scene.stack.add("worker")
    until("both are there", lambda: checks(scene.stack)["workers"] == 2)
    go_on = threading.Event()
    sagas = started(scene, "two", FOR_TWO, go_on)
    scene.until_asked(*sagas)
    scene.stack.stop_process("redis", 0)
    go_on.set()
    # No wake-up can be sent for these sagas.
    until("all answers are recorded", lambda: scene.truth.rows(THINKING)[0]["count"] == 0)
    scene.stack.start_process("redis")
    with redis.Redis.from_url(scene.stack.redis_url) as client:
        client.flushall()
    scene.mark_failure()
    scene.settle("redis killed and flushed while models think")
    check(scene, sagas)
    scene.check_logs()
    scene.stack.stop_process(other)


def check(scene: ModelScene, sagas: dict[str, str]) -> None:
    for customer, trace_id in sagas.items():
        scene.check_done(trace_id, customer)
        assert scene.mind.asked(customer) == 1, customer
