"""Redis answers, but refuses: for a while it is a replica, has no memory left, or wants another password."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from cli.devstack import Stack
from tests.faults.scene import ANSWER_WITHIN, Scene, until

# Commands that start and end each failure, and a part of the error of Redis.
FAILURES: dict[str, tuple[list[str], list[str], str]] = {
    "a replica": (["REPLICAOF 127.0.0.1 9"], ["REPLICAOF NO ONE"], "read only"),
    "no memory": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"], "maxmemory"),
    "another password": (["CONFIG SET requirepass other"], ["CONFIG SET requirepass "], "authenticat"),
    "not permitted": (["ACL SETUSER default -@write"], ["ACL SETUSER default +@write"], "permission"),
}
NAMES = ("web", "worker", "beat")


@pytest.fixture
def scene(fragile: Stack) -> Iterator[Scene]:
    with Scene(fragile, endpoint=False) as scene:
        yield scene


def ready(scene: Scene) -> httpx.Response:
    return httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN)


def tell(client: redis.Redis, command: str) -> None:
    """As its words are; an empty one at the end is one too."""
    client.execute_command(*command.split(" "))


@pytest.fixture(scope="module")
def first(fragile: Stack) -> Iterator[Scene]:
    """A scene with the logs since the first failure: a throttled warning may belong to an earlier one."""
    with Scene(fragile, endpoint=False) as scene:
        yield scene


@pytest.mark.parametrize("failure", FAILURES)
def test_it_is_waited_for(first: Scene, scene: Scene, failure: str) -> None:
    """No process ends, what is missing is said, decisions are taken; and all goes on when it is over."""
    begin, end, word = FAILURES[failure]
    pids = {name: scene.stack.pid(name) for name in NAMES}
    with redis.Redis.from_url(scene.stack.redis_url) as admin:
        for command in begin:
            tell(admin, command)
        try:
            # All clients must reconnect, which writes.
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            until("the worker says so", lambda: "the worker receives no wake-ups" in first.log("worker"))
            until("beat says so", lambda: "beat cannot send sweeps" in first.log("beat"))
            answer = ready(scene)
            assert answer.status_code == 503
            assert not answer.json()["checks"]["broker"]
            assert word in answer.json()["detail"]
            watch_id = scene.pause()
            scene.decide(watch_id)
        finally:
            for command in end:
                tell(admin, command)
    scene.until_told(watch_id)
    until("ready again", lambda: ready(scene).status_code == 200)
    assert {name: scene.stack.pid(name) for name in NAMES} == pids
    for name in NAMES:
        assert "Traceback" not in scene.log(name), scene.log(name)
    assert scene.log("worker").count("\n") < LINES, scene.log("worker")


# The most lines of a worker's log in a failure of a few seconds.
LINES = 30
