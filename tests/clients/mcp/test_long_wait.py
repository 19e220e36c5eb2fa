"""A decision that comes late: after a restart of the web server, the death of each client, and a minute and a half."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk, restart_web
from tests.clients.mcp.agent import Agent
from tests.clients.mcp.conftest import CLIENTS

# Longer than the 60 s after which many clients give up a call. Seconds.
LATE = 90.0
# The first installation of the clients takes minutes.
pytestmark = pytest.mark.timeout(900)


def test_a_late_decision(start: Callable[[str], Agent], desk: Desk, stack: Stack, held: Callable[[], float]) -> None:
    """All clients at once, because each waits for a minute and a half."""
    agents = {client: start(client) for client in CLIENTS}
    began = time.monotonic()
    for agent in agents.values():
        agent.tools()
    for client, agent in agents.items():
        agent.begin("request_approval", **_request(client), wait_seconds=50)
    ids = {pause["externalId"].removeprefix("refund-"): pause["watchId"] for pause in desk.pending(len(CLIENTS))}
    assert wait_until(lambda: held() == len(CLIENTS), WITHIN)

    # A server that stops ends its waits, and the requests stay open.
    restart_web(stack, lambda: [agent.answer() for agent in agents.values()], WITHIN)
    for client, agent in agents.items():
        agent.begin("wait_for_decision", watchId=ids[client], wait_seconds=50)
    assert wait_until(lambda: held() == len(CLIENTS), WITHIN)

    # A client that has gone makes room for others.
    for agent in agents.values():
        agent.kill()
    assert wait_until(lambda: held() == 0, WITHIN)
    agents = {client: start(client) for client in CLIENTS}
    # Longer than the 30 s after which LangChain's client gives up a silent server.
    for client, agent in agents.items():
        agent.begin("request_approval", **_request(client), wait_seconds=40)
    with ThreadPoolExecutor() as reviewer:
        decided = reviewer.submit(_approve_all, desk, began + LATE)
        waiting = list(CLIENTS)
        while waiting:
            for client in tuple(waiting):
                found = agents[client].result()
                status = "pending" if found["approved"] is None else "approved"
                assert (found["watchId"], found["status"]) == (ids[client], status)
                if found["approved"]:
                    waiting.remove(client)
                else:
                    agents[client].begin("wait_for_decision", watchId=ids[client])
        decided.result()
    for client, agent in agents.items():
        assert agent.progress, client
        used = agent.call("use_approval", watchId=ids[client])
        assert (used["approved"], used["decision"]["arguments"]) == (True, {"cents": 400}), client
        agent.kill()
    assert len(desk.all()) == len(CLIENTS)

    # Each was killed after GO. No later process may execute the action again.
    last = start("mcp")
    found = last.call("request_approval", **_request("mcp"))
    assert (found["watchId"], found["approved"], found["used"]) == (ids["mcp"], False, True)
    assert "No outcome is recorded" in found["text"]


def _request(client: str) -> dict[str, object]:
    return {"action": f"Refund by {client}", "arguments": {"cents": 500}, "idempotency_key": f"refund-{client}"}


def _approve_all(desk: Desk, at: float) -> None:
    assert wait_until(lambda: time.monotonic() > at, WITHIN)
    for pause in desk.http.get("/api/pause", params={"status": "pending"}).json()["items"]:
        approval = {"arguments": {"cents": 400}, "revision": 1}
        desk.http.post(f"/api/pause/{pause['watchId']}/approve", json=approval).raise_for_status()
