"""Workers and beat that die, freeze or stop during work."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.conftest import execute
from tests.faults.scene import Scene, until


def test_a_killed_workers_delivery_is_made_by_another(scene: Scene) -> None:
    """Its lease runs out, a sweep sends another wake-up, and the receiver sees the same webhook-id again."""
    scene.hold_first()
    scene.decide(scene.pause())
    scene.until_held()
    scene.stack.kill("worker", signal.SIGKILL)
    scene.truth.settle()
    assert sent_again(scene)


def test_a_worker_that_is_started_again_goes_on_at_once(scene: Scene) -> None:
    """Under its name, with what it was at: without it the receiver would wait for an hour."""
    scene.hold_first()
    scene.decide(scene.pause())
    scene.until_held()
    scene.stack.stop_process("worker", 0)
    later = "leased_until = now() + interval '1 h' WHERE lease_token IS NOT NULL"
    execute(scene.stack.database_url, f"UPDATE webhook_deliveries SET {later}")
    scene.stack.start_process("worker")
    scene.truth.settle()
    assert sent_again(scene)


def test_a_frozen_workers_late_result_is_dropped(scene: Scene) -> None:
    """It wakes up after its lease was given to another: what it says then must not count."""
    scene.hold_first()
    scene.decide(scene.pause())
    scene.until_held()
    # The receiver answers the frozen worker at once, so that it wakes up with a success in its hands.
    freeze(scene.stack.pid("worker"))
    scene.release.set()
    other = scene.stack.add("worker")
    try:
        scene.truth.settle()
    finally:
        scene.stack.kill("worker", signal.SIGCONT)
    until("it dropped its result", lambda: "superseded" in scene.log("worker"))
    assert sent_again(scene)
    scene.truth.settle()
    scene.stack.stop_process(other)


def freeze(pid: int | None) -> None:
    """When this returns, none of its threads runs any more."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until("all threads stand still", lambda: set(states(pid)) == {"T"})


def states(pid: int) -> Iterator[str]:
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        # A thread may have ended since it was listed.
        with suppress(FileNotFoundError, ProcessLookupError):
            yield stat.read_text().rpartition(") ")[2][0]


def sent_again(scene: Scene) -> set[tuple[str, str]]:
    """Path and webhook-id of what the receiver got more than once."""
    sent = Counter((request.line, request.headers["webhook-id"]) for request in scene.receiver.requests)
    return {message for message, times in sent.items() if times > 1}


def test_time_runs_out_while_beat_and_workers_are_away(scene: Scene) -> None:
    """No process expires the pauses, until worker and beat are back."""
    allowed = {"review": None, "allowed_on_timeout": ["expire", "reject", "approve"]}
    scene.admin.put(f"/v1/namespaces/{scene.namespace}", json=allowed).raise_for_status()
    for name in ("beat", "worker"):
        scene.stack.stop_process(name, 0)
    posted = [scene.pause(expiresIn=1, onTimeout=what) for what in ("expire", "reject", "approve") for _ in range(20)]
    decided = scene.pause()
    scene.decide(decided)
    overdue = "status = 'pending' AND expires_at < now()"
    until("their time has run out", lambda: scene.truth.count("pauses", overdue) == len(posted))
    waiting = [scene.start(scene.outcome, watch_id) for watch_id in posted]
    for name in ("worker", "beat"):
        scene.stack.start_process(name)
    assert {job.result() for job in waiting} == {"expired", "rejected", "approved"}
    scene.truth.settle()
