"""The web process is killed at the worst moment, or told to end with its hands full."""

import os
import signal
import threading

import psutil

from tests.faults.scene import Scene, until


def test_web_killed_between_the_commit_and_the_wake_up(scene: Scene) -> None:
    """A frozen Redis holds the wake-up of a stored decision back, and the sweep finds the row."""
    watch_id = scene.pause()
    until("the first webhook came", lambda: len(scene.receiver.requests) == 1)
    redis = scene.stack.pid("redis")
    assert redis is not None
    os.kill(redis, signal.SIGSTOP)
    try:
        assert scene.decide(watch_id).status_code == 200
        kill_web(scene)
    finally:
        os.kill(redis, signal.SIGCONT)
    assert scene.outcome(watch_id) == "approved"
    scene.truth.settle()


def test_web_killed_in_the_middle_of_load(scene: Scene) -> None:
    """The audit log has each stored pause and decision once, and its chain has no gap."""
    enough = threading.Event()
    clients = [scene.start(scene.create_and_decide, enough) for _ in range(8)]
    until("work goes on", lambda: len(scene.receiver.requests) >= 40)
    kill_web(scene)
    seen = len(scene.receiver.requests)
    until("work goes on", lambda: len(scene.receiver.requests) >= seen + 40)
    enough.set()
    assert sum(client.result() for client in clients) > 0
    scene.truth.settle()


def kill_web(scene: Scene) -> None:
    """With the process that serves, which its parent would otherwise let finish."""
    web = psutil.Process(scene.stack.pid("web"))
    for process in [*web.children(recursive=True), web]:
        process.kill()


def test_web_and_worker_ended_in_the_middle_of_load(scene: Scene) -> None:
    """Later processes finish accepted work. A client without a response asks again and gets one pause."""
    enough = threading.Event()
    clients = [scene.start(scene.create_and_decide, enough) for _ in range(8)]
    for name in ("web", "worker", "web", "worker"):
        seen = len(scene.receiver.requests)
        until("work goes on", lambda seen=seen: len(scene.receiver.requests) >= seen + 40)
        scene.stack.kill(name, signal.SIGTERM)
    seen = len(scene.receiver.requests)
    until("work goes on", lambda: len(scene.receiver.requests) >= seen + 40)
    enough.set()
    assert sum(client.result() for client in clients) > 0
    scene.truth.settle()
