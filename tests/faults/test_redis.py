"""Redis is away, forgets everything, and comes back, while people decide."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from cli.devstack import Stack
from tests.faults.scene import ANSWER_WITHIN, Scene, until

# A tenth is decided before Redis stops. The rest is twice what a worker has threads (60).
PAUSES = 150
CLIENTS = 8


@pytest.fixture
def scene(fragile: Stack) -> Iterator[Scene]:
    with Scene(fragile, endpoint=False) as scene:
        yield scene


def test_redis_stopped_flushed_and_restarted_while_people_decide(scene: Scene) -> None:
    """No one who decides or waits notices more than a delay."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        posted = list(clients.map(lambda _: scene.pause(), range(PAUSES)))
    waiting = [scene.start(scene.outcome, watch_id) for watch_id in posted]
    pids = {name: scene.stack.pid(name) for name in ("web", "worker", "beat")}
    clients = ThreadPoolExecutor(CLIENTS)
    deciding = [clients.submit(decide, scene, watch_id) for watch_id in posted]
    until("decisions are made", lambda: scene.truth.count("pauses", "status <> 'pending'") >= PAUSES // 10)
    scene.stack.stop_process("redis", 0)
    ready = httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN)
    assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, False)
    assert httpx.get(f"{scene.stack.url}/healthz", timeout=ANSWER_WITHIN).status_code == 200
    for job in deciding:
        job.result()
    clients.shutdown()
    assert {agent.result() for agent in waiting} == {"approved", "rejected"}
    until("the worker missed Redis", lambda: "the worker receives no wake-ups" in scene.log("worker"))
    until("beat missed Redis", lambda: "beat cannot send sweeps" in scene.log("beat"))
    scene.stack.start_process("redis")
    with redis.Redis.from_url(scene.stack.redis_url) as client:
        client.flushall()
    scene.stack.kill("redis", signal.SIGKILL)
    scene.truth.settle()
    assert scene.truth.domain_errors == 0
    assert scene.truth.unreachable == 0
    assert {name: scene.stack.pid(name) for name in pids} == pids
    scene.check_logs()
    until("ready again", lambda: httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200)


def decide(scene: Scene, watch_id: str) -> None:
    scene.decide(watch_id, "approve" if watch_id[-1] in "02468ace" else "reject")
