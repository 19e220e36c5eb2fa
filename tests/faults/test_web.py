"""The web process is killed at the worst moment, or told to end with its hands full."""

import os
import signal
import threading
from contextlib import closing

import httpx
import psutil
import psycopg2

from cli.devstack import Stack
from tests.faults.scene import Scene, until

# Each rival has a key of its own. Those of the held approvals leave a web process some of its 16 connections.
APPROVALS, HELD, RIVALS = 20, 2, 4


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


def test_web_killed_while_approvals_are_used(fragile: Stack) -> None:
    """Each approval is used by one of its rivals, which learns of it even if the first response was lost."""
    with Scene(fragile, endpoint=False) as scene, closing(psycopg2.connect(fragile.database_url)) as blocker:
        watch_ids = [scene.pause() for _ in range(APPROVALS)]
        for watch_id in watch_ids:
            assert scene.decide(watch_id).status_code == 200
        # The uses of these are in the middle of their transactions when the process dies.
        blocker.cursor().execute(
            "SELECT FROM pauses WHERE namespace = %s ORDER BY id LIMIT %s FOR UPDATE", (scene.namespace, HELD)
        )
        rivals = [
            [scene.start(use, scene, watch_id, f"use-{rival}-{watch_id}") for rival in range(RIVALS)]
            for watch_id in watch_ids
        ]
        until("others are used", lambda: scene.truth.count("pauses", "consumed_at IS NOT NULL") == APPROVALS - HELD)
        kill_web(scene)
        blocker.rollback()
        for attempts in rivals:
            answers = [attempt.result() for attempt in attempts]
            lost = [answer.json()["code"] for answer in answers if answer.status_code != 200]
            assert lost == ["ALREADY_CONSUMED"] * (RIVALS - 1)
        scene.truth.settle()
        filters = {"namespace": scene.namespace, "type": "pause.consumed", "limit": 100}
        found = scene.insist(lambda: scene.admin.get("/v1/audit-events", params=filters))
        entries = found.raise_for_status().json()["items"]
        assert sorted(entry["subject"] for entry in entries) == sorted(watch_ids)


def use(scene: Scene, watch_id: str, key: str) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return scene.insist(lambda: scene.agent.post(f"/api/pause/{watch_id}/consume", json={}, headers=headers))


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
