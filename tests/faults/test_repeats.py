"""Repetition: more beats and workers than needed, duplicate wake-ups, and simultaneous decisions."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import pytest
import redis
from celery import Celery

from tests.faults.scene import Scene, until

TIMES = 50
# Decisions are spread over this long.
SPREAD_SECONDS = 0.5


def test_two_beats_and_two_workers_do_each_thing_once(scene: Scene) -> None:
    """Sweeps are conditional updates and claims are exclusive: more of them change nothing."""
    more = [scene.stack.add("beat"), scene.stack.add("worker")]
    try:
        posted = [job.result() for job in [scene.start(scene.pause, expiresIn=1) for _ in range(100)]]
        assert {scene.outcome(watch_id) for watch_id in posted} == {"expired"}
        scene.truth.settle()
    finally:
        for name in more:
            scene.stack.stop_process(name)
    # No one died, so nothing was sent twice.
    assert len(scene.receiver.requests) == 3 * len(posted)


def test_many_wake_ups_for_one_row_make_one_attempt(scene: Scene) -> None:
    """Before the row is claimed, while it is leased, and after it is done."""
    scene.stack.stop_process("worker")
    scene.hold_first()
    scene.decide(scene.pause())
    ids = [UUID(row["id"]) for row in scene.truth.rows("SELECT id FROM webhook_deliveries WHERE namespace = %s")]
    wake_many_times(scene, ids)
    scene.stack.start_process("worker")
    scene.until_held()
    wake_many_times(scene, ids)
    until("the hints were taken", lambda: wakeups_waiting(scene) == 0)
    scene.release.set()
    scene.truth.settle()
    wake_many_times(scene, ids)
    until("the hints were taken", lambda: wakeups_waiting(scene) == 0)
    scene.decide(scene.pause())
    scene.truth.settle()
    assert len(scene.receiver.requests) == 2 * len(ids)


def wake_many_times(scene: Scene, ids: list[UUID]) -> None:
    broker = scene.stack.redis_url.replace("unix://", "redis+socket://").replace("db=", "virtual_host=")
    with Celery(broker=broker) as app, app.producer_pool.acquire() as producer:
        for _ in range(TIMES):
            for id_ in ids:
                app.send_task("tasks.webhooks.deliver", args=(id_.hex,), queue="webhooks", producer=producer)


def wakeups_waiting(scene: Scene) -> int:
    with redis.Redis.from_url(scene.stack.redis_url) as client:
        return int(client.llen("webhooks"))


# From the middle of the decisions to the expiry: people are first, mostly people, only time.
@pytest.mark.parametrize("late", [-0.2, 0.2, 0.4])
def test_of_many_contrary_decisions_and_a_timeout_one_wins(scene: Scene, late: float) -> None:
    """Any decision may win, but all callers get the same outcome, and one webhook is sent."""
    watch_id = scene.pause(expiresIn=2)
    expires = datetime.fromisoformat(scene.agent.get(f"/api/pause/{watch_id}").json()["expiresAt"])
    waiting = scene.start(scene.outcome, watch_id)
    everyone = threading.Barrier(TIMES)
    jobs = [scene.start(decide_about, scene, watch_id, number, expires, late, everyone) for number in range(TIMES)]
    assert {job.result() for job in jobs} <= {200, 409}
    outcome = waiting.result()
    scene.truth.settle()
    print(outcome)
    types = Counter(json.loads(request.body)["type"] for request in scene.receiver.requests)
    assert types == {"pause.created": 1, f"pause.{outcome}": 2}


def decide_about(
    scene: Scene, watch_id: str, number: int, expires: datetime, late: float, everyone: threading.Barrier
) -> int:
    verb, by = [("approve", scene.reviewer), ("reject", scene.reviewer), ("cancel", scene.agent)][number % 3]
    everyone.wait()
    after = late + SPREAD_SECONDS * (number / TIMES - 0.5)
    threading.Event().wait((expires - datetime.now(UTC)).total_seconds() + after)
    return scene.decide(watch_id, verb, by=by).status_code
