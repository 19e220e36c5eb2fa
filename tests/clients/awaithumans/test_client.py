"""The unmodified client: approve, edit, reject, expire, cancel, kill -9, restart, and its LangGraph adapter."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from services.kernel.unit_of_work import Database
from tests.adapters.receiver import Receiver, reply
from tests.clients.awaithumans.conftest import HERE
from tests.clients.clock import expire
from tests.clients.desk import WITHIN, Desk, restart_web
from tests.clients.programs import Start, ended

# The client may have to be installed first.
pytestmark = pytest.mark.timeout(600)
# By the task: the path of the decision with its body, and what the agent gets.
DECISIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "approve": ("approve", {}, '{"approved":true,"reason":null}'),
    "comment": ("approve", {"comment": "Fine."}, '{"approved":true,"reason":"Fine."}'),
    "reject": ("reject", {"comment": "Paid twice."}, '{"approved":false,"reason":"Paid twice."}'),
    "silent": ("reject", {}, '{"approved":false,"reason":"Rejected without a comment."}'),
    "limit": ("approve", {"response": {"limit": 3}}, '{"approve":true,"limit":3}'),
    # The form of this rejection would lack its limit.
    "limit_reject": ("reject", {}, "TaskCancelledError: Task 'limit_reject' was cancelled."),
    "label": ("approve", {"response": {"label": "letter", "blocked": True}}, '{"label":"letter","blocked":true}'),
    "label_reject": ("reject", {}, "TaskCancelledError: Task 'label_reject' was cancelled."),
    "expire": ("", {}, 'TaskTimeoutError: Task "expire" timed out after 900 seconds.'),
    "cancel": ("", {}, "TaskCancelledError: Task 'cancel' was cancelled."),
}


def task_of(pause: dict[str, Any]) -> str:
    return str(pause["agentContext"]["action"])


def test_every_end_of_a_task(desk: Desk, stack_database: Database, start: Start) -> None:
    agent = start("agent.py", ",".join(DECISIONS))
    pauses = {task_of(pause): pause for pause in desk.pending(len(DECISIONS))}
    assert pauses["approve"]["agentContext"]["arguments"] == {"order": "A-1", "cents": 100}
    assert pauses["approve"]["agentContext"]["context"] == {"thread_id": "t1"}
    assert pauses["approve"]["metadata"]["door"] == "awaithumans"
    assert pauses["approve"]["metadata"]["client"] == {"thread_id": "t1", "notify": "slack:#ops"}
    # An edit cannot reach this client, so there is none.
    edit = {"arguments": {"order": "A-1", "cents": 1}, "revision": 1}
    path = f"/api/pause/{pauses['approve']['watchId']}/approve"
    assert desk.http.post(path, json=edit).status_code == 422
    for name, pause in pauses.items():
        verdict, body, _ = DECISIONS[name]
        if name == "expire":
            expire(stack_database, pause["watchId"])
        elif name == "cancel":
            key = {"Authorization": f"Bearer {desk.agent_key}"}
            url = f"{desk.url}/compat/awaithumans/api/tasks/{pause['watchId']}/cancel"
            assert httpx.post(url, headers=key).raise_for_status().json()["status"] == "cancelled"
        else:
            desk.http.post(f"/api/pause/{pause['watchId']}/{verdict}", json=body).raise_for_status()
    assert json.loads(ended(agent)) == {name: result for name, (_, _, result) in DECISIONS.items()}
    used = {task_of(pause): pause["consumption"]["outcomeDueAt"] for pause in desk.all() if "consumption" in pause}
    assert used == dict.fromkeys(("approve", "comment", "limit", "label"))


MADE_UP = """
import asyncio
from awaithumans import await_human
class RefundRequest(BaseModel):
    order_id: str
    amount_usd: float
def process_refund(_):
    print("refunded")
"""


def test_the_examples_of_its_own_readme(desk: Desk, start: Start, tmp_path: Path) -> None:
    """As printed, with what the first example leaves out; its `await` needs a coroutine around it."""
    start("agent.py", "readme").kill()
    (metadata,) = HERE.glob(".venv/lib/python*/site-packages/awaithumans-0.1.12.dist-info/METADATA")
    first, second, *_ = re.findall("```python\n(.*?)```", metadata.read_text(), re.DOTALL)
    first, _, call = first.partition("decision = ")
    around = "async def main():\n" + "".join(f"    {line}\n" for line in f"decision = {call}".splitlines())
    samples = (f"{first}{MADE_UP}{around}asyncio.run(main())", f"{second}print(decision.approved)")
    agents = []
    for number, sample in enumerate(samples):
        file = tmp_path / f"sample{number}.py"
        file.write_text(sample)
        agents.append(start(file))
    for pause in desk.pending(2):
        verdict = "approve" if task_of(pause) == "Approve refund request" else "reject"
        desk.http.post(f"/api/pause/{pause['watchId']}/{verdict}", json={}).raise_for_status()
    assert [ended(agent) for agent in agents] == ["refunded", "False"]


def test_killed_before_the_decision(desk: Desk, start: Start) -> None:
    """The key finds the task again, also after its decision; there is one pause."""
    first = start("agent.py", "approve")
    desk.pending()
    first.kill()
    first.communicate()
    desk.decide("approve", comment="Fine.")
    for _ in range(2):
        assert json.loads(ended(start("agent.py", "approve")))["approve"] == '{"approved":true,"reason":"Fine."}'
    assert len(desk.all()) == 1


def test_restart_of_the_server(stack: Stack, desk: Desk, start: Start) -> None:
    """A request that fails ends the wait of this client. The agent starts again, and finds its task."""
    first = start("agent.py", "approve")
    desk.pending()
    restart_web(stack, lambda: wait_until(lambda: first.poll() is not None, WITHIN))
    assert "approved" not in ended(first)
    second = start("agent.py", "approve")
    desk.decide("approve")
    assert json.loads(ended(second))["approve"] == '{"approved":true,"reason":null}'
    assert len(desk.all()) == 1


def test_langgraph(desk: Desk, namespace: str, start: Start, tmp_path: Path) -> None:
    """The process ends with the graph's interrupt. Another one resumes the graph by the signed webhook."""
    key = {"Authorization": f"Bearer {desk.agent_key}"}
    secret = httpx.get(f"{desk.url}/v1/webhooks/signing-secret", params={"namespace": namespace}, headers=key).json()
    environ = {"AWAITHUMANS_PAYLOAD_KEY": secret["secret"].removeprefix("whsec_")}
    with Receiver(reply(200)) as receiver:
        graph = ("graph.py", tmp_path / "graph", f"{receiver.url}?thread=t1")
        assert ended(start(*graph, **environ)) == ""
        watch_id = desk.decide("approve", comment="Fine.")
        assert wait_until(lambda: bool(receiver.requests), WITHIN)
        (webhook,) = receiver.requests
    assert "consumption" in desk.all()[0], "it is used before it is sent"
    body, signature = webhook.body.decode(), webhook.headers["x-awaithumans-signature"]
    assert json.loads(body)["task_id"] == watch_id
    assert ended(start(*graph, body, signature, **environ)) == "A-1 refunded: Fine."
    forged = start(*graph, body.replace("Fine.", "Fine!"), signature, **environ)
    _, errors = forged.communicate(timeout=WITHIN)
    assert "Invalid awaithumans webhook signature" in errors
