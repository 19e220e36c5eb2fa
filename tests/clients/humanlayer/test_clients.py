"""Unmodified clients in Python and for Node: approve, edit, reject, expire, cancel, ask, kill -9, restart."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from services.kernel.unit_of_work import Database
from tests.clients.clock import expire
from tests.clients.desk import WITHIN, Desk, restart_web
from tests.clients.humanlayer.conftest import HERE
from tests.clients.programs import Start, ended

# The client may have to be installed first.
pytestmark = pytest.mark.timeout(600)
ARGUMENTS = {"to": "ACME", "amount": 9000}
EDIT = {"arguments": {"to": "ACME", "amount": 90}, "revision": 1}
# By the tool: the path of the decision with its body, and what the client's function returns.
DECISIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "approve": ("approve", {}, "approve done"),
    "edit": (
        "approve",
        {**EDIT, "comment": "Less, please."},
        "denied edit with message: Approved only with other arguments."
        ' Call the function again with exactly these: {"to":"ACME","amount":90} Less, please.',
    ),
    "reject": ("reject", {"comment": "Wrong vendor."}, "denied reject with message: Wrong vendor."),
    "silent": ("reject", {}, "denied silent with message: Rejected without a comment."),
    "choose": (
        "reject",
        {"response": {"option": "too_much"}},
        "denied choose with message: Lower the amount",
    ),
    "ask": ("approve", {"response": "Take ACME."}, "Take ACME."),
    "ask_options": ("approve", {"response": {"option": "acme"}}, "ACME"),
    "ask_nobody": ("reject", {"comment": "Ask Ann."}, "There is no answer. Ask Ann."),
    "refund": ("approve", {"comment": "Fine."}, "refund done"),
    "expire": ("", {}, "denied expire with message: The request expired before anyone decided."),
    "cancel": ("", {}, "denied cancel with message: The request was cancelled."),
}


def tool_of(pause: dict[str, Any]) -> str:
    text: str = pause["agentContext"]["action"]
    return text.removeprefix("Call ").removesuffix("?")


def decide(desk: Desk, database: Database, pauses: dict[str, dict[str, Any]]) -> None:
    for name, pause in pauses.items():
        verdict, body, _ = DECISIONS[name]
        if name == "expire":
            expire(database, pause["watchId"])
        elif name == "cancel":
            key = {"Authorization": f"Bearer {desk.agent_key}"}
            httpx.post(f"{desk.url}/api/pause/{pause['watchId']}/cancel", json={}, headers=key).raise_for_status()
        else:
            desk.http.post(f"/api/pause/{pause['watchId']}/{verdict}", json=body).raise_for_status()


def test_python(desk: Desk, stack_database: Database, start: Start) -> None:
    """The function runs only for an unedited approval. Each other end gives the model a reason."""
    agent = start("agent.py", ",".join(DECISIONS))
    pauses = {tool_of(pause): pause for pause in desk.pending(len(DECISIONS))}
    approve = pauses["approve"]
    assert approve["agentContext"]["arguments"] == ARGUMENTS
    assert approve["metadata"]["door"] == "humanlayer"
    assert approve["metadata"]["client"] == {"tool": "approve", "run": "run-7", "channel": "slack C1"}
    assert pauses["refund"]["metadata"]["client"] == {"tool": "refund", "run": "run-8"}
    decide(desk, stack_database, pauses)
    printed = json.loads(ended(agent))
    results = {name: result.removeprefix("User in finance ") for name, result in printed["results"].items()}
    assert results == {name: result for name, (_, _, result) in DECISIONS.items()}
    ran = sorted(printed["ran"], key=lambda each: str(each["name"]))
    assert ran == [{"name": "approve", **ARGUMENTS}, {"name": "refund", "order": "A-1"}]
    used = {tool_of(pause) for pause in desk.all() if "consumption" in pause}
    assert used == {"approve", "refund", "ask", "ask_options"}
    assert {pause["consumption"]["outcomeDueAt"] for pause in desk.all() if "consumption" in pause} == {None}


def test_node(desk: Desk, stack_database: Database, start_node: Start) -> None:
    wanted = {"approve", "edit", "reject", "silent", "ask", "ask_nobody", "expire", "cancel"}
    agent = start_node("agent.mjs", ",".join(wanted))
    pauses = {tool_of(pause): pause for pause in desk.pending(len(wanted))}
    decide(desk, stack_database, pauses)
    printed = json.loads(ended(agent))
    expected = {
        name: re.sub("^denied (.*) with message", r"User denied function \1 with comment", DECISIONS[name][2])
        for name in wanted
    }
    assert printed["results"] == expected
    assert printed["ran"] == [{"name": "approve", **ARGUMENTS}]


LLM = """
def run_llm_task(prompt, tools, llm):
    for tool in tools:
        needs_arguments = tool.__name__ == "send_email"
        call = {"to": "ann@example.org", "subject": "Hi", "body": "Welcome"} if needs_arguments else {"message": prompt}
        print(f"{tool.__name__}: {tool(**call)}")
"""


def test_the_examples_of_its_own_readme(desk: Desk, start: Start, tmp_path: Path) -> None:
    """As printed, with a stand-in for the function that the README makes up."""
    (metadata,) = HERE.glob(".venv/lib/python*/site-packages/humanlayer-0.7.9.dist-info/METADATA")
    samples = re.findall("```python\n(.*?)```", metadata.read_text(), re.DOTALL)
    assert ["require_approval" in samples[0], "human_as_tool" in samples[1], len(samples)] == [True, True, 2]
    agents = []
    for number, sample in enumerate(samples):
        file = tmp_path / f"sample{number}.py"
        file.write_text(LLM + sample)
        agents.append(start(file))
    for pause in desk.pending(2):
        held = pause["agentContext"]["action"] == "Call send_email"
        body = {} if held else {"response": "Looks good."}
        desk.http.post(f"/api/pause/{pause['watchId']}/approve", json=body).raise_for_status()
    assert ended(agents[0]) == "send_email: None"
    assert ended(agents[1]) == "send_email: None\ncontact_human: Looks good."


def test_killed_before_the_decision(desk: Desk, start: Start) -> None:
    """A call with an id of the agent's own is found again; there is one pause and one use."""
    command = ("resume.py", "call-7")
    first = start(*command, "9000")
    desk.pending()
    first.kill()
    first.communicate()
    again = start(*command, "9000")
    assert again.stdout is not None
    assert again.stdout.readline() == "asked\n"
    desk.decide("approve")
    assert ended(again) == "wired 9000"
    (pause,) = desk.all()
    assert pause["consumption"]["consumedAt"]
    # The id stays with its arguments.
    other = start(*command, "1")
    _, errors = other.communicate(timeout=WITHIN)
    assert other.returncode == 1
    assert "use a new id for each request" in errors


def test_killed_for_good(desk: Desk, start: Start) -> None:
    """The decorator has a new id for each call. An approval of a call that died is never used."""
    first = start("agent.py", "approve")
    desk.pending()
    first.kill()
    first.communicate()
    desk.decide("approve")
    second = start("agent.py", "approve")
    desk.decide("reject", comment="Once is enough.")
    assert json.loads(ended(second))["ran"] == []
    assert ["consumption" in pause for pause in desk.all()] == [False, False]


def test_restart_of_the_server(stack: Stack, desk: Desk, start: Start) -> None:
    """A request that fails ends the wait of the decorator, and its function does not run. Another agent waits on."""
    waits = start("resume.py", "call-8", "9000")
    ends = start("agent.py", "approve")
    pauses = {tool_of(pause): pause for pause in desk.pending(2)}
    restart_web(stack, lambda: wait_until(lambda: ends.poll() is not None, WITHIN))
    printed = json.loads(ended(ends))
    assert printed["results"]["approve"].startswith("Error fetching approval for approve: ")
    assert printed["ran"] == []
    watch_id = pauses["wire_money"]["watchId"]
    desk.http.post(f"/api/pause/{watch_id}/approve", json={}).raise_for_status()
    assert ended(waits) == "asked\nwired 9000"
