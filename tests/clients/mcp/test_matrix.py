"""Each client, unmodified: an agent asks, a reviewer decides, the agent does what it may."""

from collections.abc import Callable

import pytest

from tests.clients.desk import Desk
from tests.clients.mcp.agent import Agent

Start = Callable[[str], Agent]
TOOLS = {
    *("request_approval", "wait_for_decision", "get_decision", "use_approval", "record_outcome"),
    *("cancel_request", "ask_human"),
}
REFUND = {"action": "Refund", "arguments": {"cents": 500}}
# The first installation of the clients takes minutes.
pytestmark = pytest.mark.timeout(600)


def test_each_decision(start: Start, client: str, desk: Desk) -> None:
    agent = start(client)
    assert set(agent.tools()) == TOOLS
    _approved(agent, desk)
    _edited(agent, desk)
    _rejected(agent, desk)
    _expired(agent)
    _cancelled(agent)
    _answered(agent, desk)
    agent.begin("get_decision", watchId="wch_0")
    refused = agent.answer()
    assert refused["isError"]
    assert "NOT_FOUND" in refused["text"]
    agent.end()


def _approved(agent: Agent, desk: Desk) -> None:
    agent.begin("request_approval", **REFUND, wait_seconds=50)
    watch_id = desk.decide("approve", comment="fine")
    decided = agent.result()
    assert (decided["watchId"], decided["status"], decided["approved"]) == (watch_id, "approved", True)
    assert decided["decision"]["comment"] == "fine"
    used = agent.call("use_approval", watchId=watch_id, arguments={"cents": 500})
    assert used["approved"] is True
    assert used["decision"]["arguments"] == {"cents": 500}
    assert used["text"].startswith('GO: execute the action now, once, with exactly these arguments: {"cents":500}.')
    again = agent.call("use_approval", watchId=watch_id)
    assert (again["approved"], again["used"]) == (False, True)
    assert again["text"].startswith("ALREADY USED")
    done = agent.call("record_outcome", watchId=watch_id, status="succeeded", note="R-7", result={"id": 7})
    assert (done["approved"], done["execution"]) == (False, "succeeded")
    (pause,) = desk.all()
    assert pause["consumption"]["outcome"]["note"] == "R-7"
    assert pause["approvalValidFor"] == 900
    assert pause["metadata"]["door"] == "mcp"
    assert pause["metadata"]["client"].keys() == {"tool", "name", "version"}


def _edited(agent: Agent, desk: Desk) -> None:
    agent.begin("request_approval", **REFUND, wait_seconds=50)
    watch_id = desk.decide("approve", arguments={"cents": 400})
    decided = agent.result()
    assert (decided["approved"], decided["edited"]) == (True, True)
    assert decided["decision"]["arguments"] == {"cents": 400}
    mine = agent.call("use_approval", watchId=watch_id, arguments={"cents": 500})
    assert (mine["approved"], mine["used"]) == (False, False)
    assert '{"cents":400}' in mine["text"]
    assert agent.call("use_approval", watchId=watch_id, arguments={"cents": 400})["approved"] is True


def _rejected(agent: Agent, desk: Desk) -> None:
    agent.begin("request_approval", **REFUND, wait_seconds=50)
    watch_id = desk.decide("reject", comment="not today")
    decided = agent.result()
    assert (decided["status"], decided["approved"]) == ("rejected", False)
    assert decided["text"].startswith("REJECTED by test reviewer: not today. Do not execute the action")
    used = agent.call("use_approval", watchId=watch_id)
    assert (used["approved"], used["text"]) == (False, decided["text"])


def _expired(agent: Agent) -> None:
    decided = agent.call("request_approval", action="Refund", expires_in=1, wait_seconds=50)
    assert (decided["status"], decided["approved"]) == ("expired", False)
    assert "silence is not consent" in decided["text"]


def _cancelled(agent: Agent) -> None:
    held = agent.call("request_approval", action="Refund", wait_seconds=0)
    assert (held["status"], held["approved"], held["used"]) == ("pending", None, False)
    decided = agent.call("cancel_request", watchId=held["watchId"], reason="not needed")
    assert (decided["status"], decided["approved"]) == ("cancelled", False)


def _answered(agent: Agent, desk: Desk) -> None:
    agent.begin("ask_human", question="Which region?", options=["eu", "us"], wait_seconds=50)
    watch_id = desk.decide("approve", response="eu")
    answered = agent.result()
    assert (answered["answered"], answered["answer"]) == (True, "eu")
    assert agent.call("wait_for_decision", watchId=watch_id)["answer"] == "eu"
    pause = next(each for each in desk.all() if each["watchId"] == watch_id)
    assert pause["consumption"]["outcomeDueAt"] is None
    agent.begin("ask_human", question="Whose fault is it?", wait_seconds=50)
    desk.decide("reject", comment="not mine")
    answered = agent.result()
    assert (answered["answered"], answered["answer"]) == (False, None)
