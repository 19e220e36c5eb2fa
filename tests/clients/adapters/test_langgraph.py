"""LangChain's human-in-the-loop middleware and LangGraph's own interrupts, across processes that die."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.adapters.processes import TWO, Agent, blocks, decide, edited, outcomes
from tests.clients.desk import Desk, restart_web

Make = Callable[..., Agent]
PROGRAM = "langgraph_agent.py"
PAGE = (Path(__file__).parents[3] / "docs" / "doors" / "langgraph.md").read_text()
# The frameworks may have to be installed first.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("kind", ["batched", "per_call-async"])
def test_killed_before_two_decisions_in_another_order(desk: Desk, agent: Make, kind: str) -> None:
    refunds = agent(PROGRAM, kind, CALLS=TWO)
    refunds.die_at("before-wait")
    desk.pending(2)
    decide(desk, "B-2", "reject", comment="paid twice")
    decide(desk, "A-1", "approve", **edited("A-1", 9900))
    printed = refunds.run()
    assert refunds.noted == ["A-1 9900"]
    assert "refunded 9900 for A-1" in printed
    assert "was rejected by test reviewer: paid twice" in printed
    assert len(desk.all()) == 2
    assert outcomes(desk) == {"A-1": "succeeded"}
    facts = desk.all()[0]["metadata"]
    assert facts["door"] == "langgraph"
    assert {name: facts["client"][name] for name in ("framework", "tool", "thread", "version")} == {
        "framework": "langgraph",
        "tool": "refund",
        "thread": "ticket-7",
        "version": "1.2.24",
    }


@pytest.mark.parametrize(("kind", "verdict"), [("plain", "approve"), ("plain", "reject"), ("batched", "approve")])
def test_killed_before_the_decision(desk: Desk, agent: Make, kind: str, verdict: str) -> None:
    refunds = agent(PROGRAM, kind)
    refunds.die_at("after-request")
    decide(desk, "A-1", verdict)
    printed = refunds.run()
    assert refunds.noted == (["A-1 12900"] if verdict == "approve" else [])
    assert ("refunded 12900 for A-1" if verdict == "approve" else "was rejected by test reviewer") in printed
    assert outcomes(desk) == ({"A-1": "succeeded"} if verdict == "approve" else {})
    assert len(desk.all()) == 1


@pytest.mark.parametrize(
    ("kind", "step", "notes"),
    [
        ("batched", "after-consume", []),
        ("per_call", "after-consume", []),
        ("batched", "inside-A-1", ["A-1 12900"]),
        ("per_call-async", "inside-A-1", ["A-1 12900"]),
        ("plain", "inside-A-1", ["A-1 12900"]),
    ],
)
def test_killed_after_the_approval_was_used(desk: Desk, agent: Make, kind: str, step: str, notes: list[str]) -> None:
    """The tool does not run again, and the model reads that the result is unknown."""
    refunds = agent(PROGRAM, kind)
    waiting = refunds.start(DIE_AT=step)
    decide(desk, "A-1", "approve")
    refunds.ended(waiting, -signal.SIGKILL)
    assert "its result is unknown" in refunds.run()
    assert refunds.noted == notes
    assert outcomes(desk) == {"A-1": None}
    assert len(desk.all()) == 1


def test_killed_while_one_of_two_tools_runs(desk: Desk, agent: Make) -> None:
    """The other call keeps its request."""
    refunds = agent(PROGRAM, "per_call", CALLS=TWO)
    waiting = refunds.start(DIE_AT="inside-A-1")
    desk.pending(2)
    decide(desk, "A-1", "approve")
    refunds.ended(waiting, -signal.SIGKILL)
    decide(desk, "B-2", "approve")
    printed = refunds.run()
    assert "its result is unknown" in printed
    assert "refunded 500 for B-2" in printed
    assert refunds.noted == ["A-1 12900", "B-2 500"]
    assert outcomes(desk) == {"A-1": None, "B-2": "succeeded"}


def test_killed_while_the_model_reads_the_result(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "batched")
    waiting = refunds.start(DIE_AT="model")
    decide(desk, "A-1", "approve")
    refunds.ended(waiting, -signal.SIGKILL)
    assert "refunded 12900 for A-1" in refunds.run()
    assert refunds.noted == ["A-1 12900"]
    assert outcomes(desk) == {"A-1": "succeeded"}


def test_a_tool_that_fails(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "batched", CALLS='[{"order": "A-1", "cents": -5}]')
    waiting = refunds.start()
    decide(desk, "A-1", "approve")
    assert "the bank is closed" in refunds.ended(waiting, 1)
    assert "and failed. It does not run again" in refunds.run()
    assert refunds.noted == ["A-1 -5"]
    assert outcomes(desk) == {"A-1": "failed"}


def test_a_tool_that_fails_beside_a_call_that_waits(desk: Desk, agent: Make) -> None:
    """The failed node would run again with its old answer, so the whole turn ends, and the open request with it."""
    refunds = agent(PROGRAM, "per_call", CALLS='[{"order": "A-1", "cents": -5}, {"order": "B-2", "cents": 500}]')
    waiting = refunds.start()
    desk.pending(2)
    decide(desk, "A-1", "approve")
    assert "the bank is closed" in refunds.ended(waiting, 1)
    printed = refunds.run()
    assert "and failed. It does not run again" in printed
    assert "This call has no result" in printed
    assert refunds.noted == ["A-1 -5"]
    assert {pause["agentContext"]["arguments"]["order"]: pause["status"] for pause in desk.all()} == {
        "A-1": "approved",
        "B-2": "cancelled",
    }


def test_the_web_server_restarts_while_the_agent_waits(stack: Stack, desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "batched")
    waiting = refunds.start()
    desk.pending()
    restart_web(stack, lambda: None)
    decide(desk, "A-1", "approve", **edited("A-1", 9900))
    assert "refunded 9900 for A-1" in refunds.ended(waiting)
    assert refunds.noted == ["A-1 9900"]
    assert outcomes(desk) == {"A-1": "succeeded"}


def test_an_expired_request(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "batched", EXPIRES_IN="1")
    assert "“Run the tool refund” did not get a decision in time" in refunds.run()
    assert refunds.noted == []


def test_the_quick_start(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM)
    program = refunds.folder / "refund.py"
    program.write_text(blocks(PAGE, "python")[0])
    refunds.command = [refunds.command[0], str(program)]
    waiting = refunds.start()
    desk.pending()
    waiting.kill()
    refunds.ended(waiting, -signal.SIGKILL)
    desk.decide("approve", arguments={"order": "1042", "cents": 9900}, revision=1)
    assert refunds.run() == "refunded 9900 cents for 1042\n"
    assert len(desk.all()) == 1


def test_the_example_of_the_middleware(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM)
    program = refunds.folder / "refund.py"
    names = "from langgraph_agent import CONFIG as config, Model, refund"
    prelude = f"from langgraph.checkpoint.memory import InMemorySaver\n{names}\n"
    prelude += "model, saver = Model(messages=iter([])), InMemorySaver()\n"
    program.write_text(prelude + blocks(PAGE, "python")[1])
    refunds.command = [refunds.command[0], str(program), str(refunds.folder)]
    refunds.environ["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    waiting = refunds.start()
    desk.decide("approve")
    assert refunds.ended(waiting) == "refunded 12900 for A-1\n"
