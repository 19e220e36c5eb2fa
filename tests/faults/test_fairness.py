"""One tenant floods, with what never answers; another's decision, expiry and webhook do not wait for it."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cli.devstack import Stack
from tests.conftest import execute
from tests.faults.saga_scene import SagaScene, step
from tests.faults.scene import ANSWER_WITHIN, Scene, until
from tests.faults.slow_ledger import BEFORE

# More than a worker has threads.
FLOOD = 120
CLIENTS = 8


@contextlib.contextmanager
def silent_origins(count: int) -> Iterator[list[str]]:
    """URLs of so many receivers that take connections, as the kernel does it, and say nothing."""
    with contextlib.ExitStack() as open_:
        found = []
        for _ in range(count):
            listener = open_.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            found.append(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        yield found


def is_well(other: Scene) -> None:
    """A pause of the other tenant is decided, and one expires; it hears of both, and the stack is ready."""
    decided, expired = other.pause(), other.pause(expiresIn=1, onTimeout="reject")
    other.decide(decided)
    for watch_id in (decided, expired):
        other.until_told(watch_id)
    assert httpx.get(f"{other.stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200


@pytest.mark.parametrize("origins", [4, 40])
def test_webhooks_to_receivers_that_never_answer(fragile: Stack, origins: int) -> None:
    with Scene(fragile, endpoint=False) as flooding, Scene(fragile) as other, silent_origins(origins) as silent:

        def cancel_one(number: int) -> None:
            watch_id = flooding.pause(callbackUrl=silent[number % origins])
            flooding.agent.post(f"/api/pause/{watch_id}/cancel", json={}).raise_for_status()

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(cancel_one, range(FLOOD)))
        until("many are under way", lambda: under_way(flooding, "webhook_deliveries") >= 10)
        is_well(other)
        assert under_way(flooding, "webhook_deliveries"), "they are still at it"
        ended = "status = 'exhausted', completed_at = now(), lease_token = NULL, leased_until = NULL"
        execute(fragile.database_url, f"UPDATE webhook_deliveries SET {ended} WHERE status = 'pending'")


def test_sagas_on_a_tool_that_never_answers(fragile: Stack) -> None:
    """The other's decision carries its saga on to its end, tool call and all."""
    with Scene(fragile, endpoint=False) as flooding, SagaScene(fragile) as other:
        worker = {"kind": "worker", "name": "ledger", "tool_sources": [other.sources["ledger"]]}
        saga = {"kind": "saga", "name": "slow", "steps": [step("one", "charge")]}
        for manifest in (worker, saga):
            deployed = manifest | {"version": "1", "namespace": flooding.namespace}
            flooding.admin.post("/v1/manifests", json=deployed).raise_for_status()
        other.deploy_saga("held", step("one", "charge", source="late", hitl=True))
        held = other.start_saga("held", customer="quick")
        other.reads_as(held, "AWAITING_HUMAN")
        other.ledger.hold("slow", "charge", BEFORE)

        def start_one(_: int) -> None:
            wanted = {"name": "slow", "version": "1", "input": {"customer": "slow"}}
            flooding.agent.post("/v1/sagas/start", json=wanted).raise_for_status()

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(start_one, range(FLOOD)))
        until("many are under way", lambda: len(other.ledger.calls("slow", "charge")) >= 10)
        other.order("reviewer", held, other.step(held, "one")["step_span_id"], "approve")
        other.reads_as(held, "COMPLETED")
        is_well(other)
        other.reads_as(other.start_saga("held", customer="quick"), "AWAITING_HUMAN")
        assert under_way(flooding, "sagas"), "they are still at it"
        other.ledger.release()
        left = "ended_at IS NULL"
        until("all of them have ended", lambda: not flooding.truth.count("sagas", left))
        assert len(set(other.ledger.calls("slow", "charge"))) == FLOOD


def under_way(scene: Scene, table: str) -> int:
    return scene.truth.count(table, "lease_token IS NOT NULL")
