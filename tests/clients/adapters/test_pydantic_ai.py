"""Pydantic AI's deferred tools, across processes that die."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.adapters.processes import TWO, Agent, blocks, decide, edited, outcomes
from tests.clients.desk import Desk, restart_web

Make = Callable[..., Agent]
PROGRAM = "pydantic_ai_agent.py"
PAGE = (Path(__file__).parents[3] / "docs" / "doors" / "pydantic-ai.md").read_text()
# The frameworks may have to be installed first.
pytestmark = pytest.mark.timeout(600)


def test_killed_before_two_decisions_in_another_order(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, CALLS=TWO)
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
    assert desk.all()[0]["metadata"]["door"] == "pydantic-ai"


def test_killed_before_the_decision(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "async")
    refunds.die_at("after-request")
    decide(desk, "A-1", "approve")
    assert refunds.run() == "refunded 12900 for A-1\n"
    assert refunds.noted == ["A-1 12900"]
    assert outcomes(desk) == {"A-1": "succeeded"}


@pytest.mark.parametrize(("step", "notes"), [("after-consume", []), ("inside-A-1", ["A-1 12900"])])
def test_killed_after_the_approval_was_used(desk: Desk, agent: Make, step: str, notes: list[str]) -> None:
    """The tool does not run again, and the model reads that the result is unknown."""
    refunds = agent(PROGRAM)
    waiting = refunds.start(DIE_AT=step)
    decide(desk, "A-1", "approve")
    refunds.ended(waiting, -signal.SIGKILL)
    assert "its result is unknown" in refunds.run()
    assert refunds.noted == notes
    assert outcomes(desk) == {"A-1": None}
    assert len(desk.all()) == 1


def test_the_web_server_restarts_while_the_agent_waits(stack: Stack, desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, "async")
    waiting = refunds.start()
    desk.pending()
    restart_web(stack, lambda: None)
    decide(desk, "A-1", "approve", **edited("A-1", 9900))
    assert refunds.ended(waiting) == "refunded 9900 for A-1\n"
    assert refunds.noted == ["A-1 9900"]


def test_an_expired_request(desk: Desk, agent: Make) -> None:
    refunds = agent(PROGRAM, EXPIRES_IN="1")
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
    assert refunds.run() == '{"refund":"refunded 9900 cents for 1042"}\n'
    assert len(desk.all()) == 1
