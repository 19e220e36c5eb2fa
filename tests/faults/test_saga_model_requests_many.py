"""A hundred thoughts for one worker process: what they cost, what waits for room, and a Redis that forgets."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import redis

from tests.faults.model_scene import ThoughtScene, after, ended, thinking_stack
from tests.faults.saga_scene import step
from tests.faults.scene import until
from tests.faults.test_saga_tools import peak

# Of one process; those that were let in at the same moment come on top, at most one for each of its threads.
ROOM, THREADS = 64, 16
# Beyond that; and for two workers.
MORE, FOR_TWO = 36, 72
OTHERS = 10
THINKING = """
    SELECT count(*) FROM saga_steps JOIN sagas ON sagas.id = saga_id
    WHERE namespace = %s AND step_id = 'two' AND saga_steps.status = 'IN_PROGRESS'
"""
MAY_HAVE = 600 * 1024 * 1024
MAY_RUN = 60


@pytest.fixture(scope="module")
def scene() -> Iterator[ThoughtScene]:
    with thinking_stack() as (stack, mind), ThoughtScene(stack, mind) as scene:
        scene.deploy_reasoning("simple")
        scene.deploy_saga("other", step("one", "charge"))
        yield scene


def started(scene: ThoughtScene, name: str, count: int, go_on: threading.Event) -> dict[str, str]:
    """Trace ids by customer."""
    customers = [f"{name}-{number}" for number in range(count)]
    for customer in customers:
        scene.mind.plan(customer, answer=after(go_on))
    with ThreadPoolExecutor(8) as clients:
        traces = list(clients.map(lambda customer: scene.start_model_request("simple", customer), customers))
    return dict(zip(customers, traces, strict=True))


def thinks_about(scene: ThoughtScene, sagas: dict[str, str]) -> int:
    return sum(scene.mind.asked(customer) for customer in sagas)


def test_a_full_worker_goes_on_with_other_work(scene: ThoughtScene) -> None:
    worker = psutil.Process(scene.stack.pid("worker"))
    go_on = threading.Event()
    sagas = started(scene, "full", ROOM + MORE, go_on)
    until("it is full", lambda: thinks_about(scene, sagas) >= ROOM)
    others = [scene.start_saga("other", customer=f"other-{number}") for number in range(OTHERS)]
    ended(scene, *others)
    assert [scene.saga(trace_id)["status"] for trace_id in others] == ["COMPLETED"] * OTHERS
    threads = worker.num_threads()
    assert ROOM <= thinks_about(scene, sagas) == scene.mind.server.at_once < ROOM + THREADS
    scene.field_error()
    go_on.set()
    scene.settle("more thoughts than there is room for")
    print(f"{scene.mind.server.at_once} thoughts at once: {peak(worker) >> 20} MB at most, {threads} threads")
    assert peak(worker) < MAY_HAVE
    assert threads < MAY_RUN
    check(scene, sagas)


def test_redis_killed_and_flushed_while_two_workers_think(scene: ThoughtScene) -> None:
    go_on = threading.Event()
    other = scene.stack.add("worker")
    sagas = started(scene, "two", FOR_TWO, go_on)
    until("both are at them", lambda: thinks_about(scene, sagas) == len(sagas))
    scene.stack.stop_process("redis", 0)
    go_on.set()
    # Nobody can be told that these sagas go on.
    until("all answers are recorded", lambda: scene.truth.rows(THINKING)[0]["count"] == 0)
    scene.stack.start_process("redis")
    with redis.Redis.from_url(scene.stack.redis_url) as client:
        client.flushall()
    scene.field_error()
    scene.settle("redis killed and flushed while models think")
    check(scene, sagas)
    scene.check_logs()
    scene.stack.stop_process(other)


def check(scene: ThoughtScene, sagas: dict[str, str]) -> None:
    for customer, trace_id in sagas.items():
        scene.check_done(trace_id, customer)
        assert scene.mind.asked(customer) == 1, customer
