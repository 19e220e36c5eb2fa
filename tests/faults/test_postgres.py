"""PostgreSQL is restarted under load: refused with 503 meanwhile, and nothing else has to be restarted."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import httpx
import psutil
import pytest

from adapters.redis.connection import connect
from adapters.redis.pubsub import send
from cli.devstack import Stack
from domain.pauses.serialization import pause_id
from tests.conftest import execute
from tests.faults.saga_scene import SagaScene, step
from tests.faults.scene import ANSWER_WITHIN, Scene, until
from tests.faults.slow_ledger import AFTER
from tests.faults.test_workers import freeze

# Many times the threads that answer parked long polls. They wait for so many seconds: all are parked by then.
PARKED, WAIT = 240, 10


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_postgres_restarted_under_load(scene: Scene, how: signal.Signals) -> None:
    """SIGQUIT is PostgreSQL's immediate shutdown; after both it recovers from its log."""
    pids = {name: scene.stack.pid(name) for name in ("web", "worker", "beat")}
    enough = threading.Event()
    clients = [scene.start(scene.create_and_decide, enough) for _ in range(8)]
    clients.append(scene.start(scene.keep_reading, enough))
    until("work is done", lambda: len(scene.receiver.requests) >= 40)
    scene.stack.kill("postgres", how)
    until("someone is refused", lambda: scene.truth.domain_errors > 0)
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


def test_probes_and_streams_while_postgres_is_away(scene: Scene) -> None:
    """Ready says what is missing, alive stays alive, and both at once. A stream ends, and its client comes back."""
    watch_id = scene.pause()
    with scene.agent.stream("GET", f"/api/pause/{watch_id}/events") as stream:
        events = stream.iter_text()
        until("the stream is open", lambda: "pause.created" in next(events))
        scene.stack.stop_process("postgres")
        try:
            # Wakes the stream, which then reads its pause.
            send(connect(scene.stack.redis_url), [pause_id(watch_id)])
            assert "event:" not in "".join(events)
            ready = httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN)
            alive = httpx.get(f"{scene.stack.url}/healthz", timeout=ANSWER_WITHIN)
        finally:
            scene.stack.start_process("postgres")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, False)
    assert alive.status_code == 200
    until("ready again", lambda: httpx.get(f"{scene.stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200)
    scene.check_logs()


def test_parked_long_polls_while_postgres_is_silent(scene: Scene) -> None:
    """Its connections hang and are not refused. Each poll is answered all the same, and work goes on afterwards."""
    path = f"/api/pause/{scene.pause()}"
    polls = [scene.start(scene.agent.get, path, params={"wait": WAIT}) for _ in range(PARKED)]
    until("all are parked", lambda: f"sagahold_long_polls {PARKED}.0" in scene.admin.get("/metrics").text)
    with silent(scene.stack):
        answers = [poll.result() for poll in polls]
    for answer in answers:
        scene.truth.refused(answer)
    assert scene.decide(scene.pause()).json()["status"] == "approved"
    until("no poll waits", lambda: "sagahold_long_polls 0.0" in scene.admin.get("/metrics").text)
    scene.check_logs()


@contextlib.contextmanager
def silent(stack: Stack) -> Iterator[None]:
    """As a server whose disk or machine hangs: connections stay open, and new ones are not answered."""
    server = psutil.Process(stack.pid("postgres"))
    try:
        # The server first, because it starts the others.
        freeze(server.pid)
        for process in server.children(recursive=True):
            freeze(process.pid)
        yield
    finally:
        for process in [*server.children(recursive=True), server]:
            os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def read_only(stack: Stack) -> Iterator[None]:
    """As a standby, and a primary whose disk is full: connections that are open take no changes either."""
    execute(stack.database_url, "ALTER SYSTEM SET default_transaction_read_only = on")
    execute(stack.database_url, "SELECT pg_reload_conf()")
    try:
        until("read-only", lambda: ready(stack).status_code == 503)
        yield
    finally:
        writable = f"{stack.database_url}&options=-c%20default_transaction_read_only%3Doff"
        execute(writable, "ALTER SYSTEM RESET default_transaction_read_only")
        execute(writable, "SELECT pg_reload_conf()")


def ready(stack: Stack) -> httpx.Response:
    return httpx.get(f"{stack.url}/readyz", timeout=ANSWER_WITHIN)


def test_read_only_for_seconds(fragile: Stack) -> None:
    """Each change is refused for a while, and a tool's answer that arrives meanwhile is recorded afterwards."""
    with SagaScene(fragile) as scene:
        scene.deploy_saga("once", step("one", "charge_once"))
        scene.ledger.hold("anna", "charge_once", AFTER)
        trace_id, held = scene.start_saga("once", customer="anna"), scene.pause()
        until("it has acted", lambda: bool(scene.ledger.calls("anna", "charge_once", AFTER)))
        with read_only(fragile):
            assert ready(fragile).json()["checks"] | {"workers": 1, "beat": True} == {
                "database": True,
                "migrations": True,
                "broker": True,
                "workers": 1,
                "beat": True,
                "writable": False,
            }
            assert "read-only" in ready(fragile).json()["detail"]
            for answer in (
                scene.agent.post("/api/pause", json={"action": "deploy"}),
                scene.reviewer.post(f"/api/pause/{held}/approve", json={}),
                scene.agent.post("/v1/sagas/start", json={"name": "once", "version": "1", "input": {}}),
                scene.operator.post(f"/v1/sagas/{trace_id}/cancel", json={"reason": "enough"}),
                scene.admin.post("/v1/keys", json={"name": "x", "role": "agent", "namespaces": [scene.namespace]}),
            ):
                assert answer.status_code == 503, answer.text
                scene.truth.refused(answer)
            scene.ledger.release()
            until("the answer came", lambda: "a result cannot be recorded yet" in scene.log("worker"))
        saga = scene.reads_as(trace_id, "COMPLETED")
        assert (saga["needs_operator"], len(scene.ledger.entries("anna"))) == (False, 1)
        assert scene.decide(held).json()["status"] == "approved"
        scene.check_logs()
    until("ready again", lambda: ready(fragile).status_code == 200)
