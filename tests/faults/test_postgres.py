"""PostgreSQL is restarted under load: refused with 503 meanwhile, and nothing else has to be restarted."""

import signal
import threading

import httpx
import pytest

from tests.faults.scene import ANSWER_WITHIN, Scene, until


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_postgres_restarted_under_load(scene: Scene, how: signal.Signals) -> None:
    """SIGQUIT is PostgreSQL's immediate shutdown; after both it recovers from its log."""
    pids = {name: scene.stack.pid(name) for name in ("web", "worker", "beat")}
    enough = threading.Event()
    clients = [scene.start(scene.create_and_decide, enough) for _ in range(8)]
    until("work is done", lambda: len(scene.receiver.requests) >= 40)
    scene.stack.kill("postgres", how)
    until("someone is refused", lambda: scene.truth.refusals > 0)
    seen = len(scene.receiver.requests)
    until("work goes on", lambda: len(scene.receiver.requests) >= seen + 40)
    enough.set()
    for client in clients:
        client.result()
    scene.truth.settle()
    assert scene.truth.unreachable == 0
    assert {name: scene.stack.pid(name) for name in pids} == pids
    scene.check_logs()
    until("ready again", lambda: httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200)


def test_probes_while_postgres_is_away(scene: Scene) -> None:
    """Ready says what is missing, alive stays alive, and both at once."""
    scene.stack.stop_process("postgres")
    try:
        ready = httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN)
        alive = httpx.get(f"{scene.stack.url}/healthz", timeout=ANSWER_WITHIN)
    finally:
        scene.stack.start_process("postgres")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, False)
    assert alive.status_code == 200
    until("ready again", lambda: httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200)
