"""Each client, unmodified: an agent asks, a reviewer decides, the agent does what it may."""

from collections.abc import Callable

from tests.clients.desk import Desk
from tests.clients.mcp.agent import Agent

Start = Callable[[str], Agent]
TOOLS = {
    *("request_approval", "wait_for_decision", "get_decision", "use_approval", "record_outcome"),
    *("cancel_request", "ask_human"),
}


def test_each_decision(start: Start, client: str, desk: Desk) -> None:
    with start(client) as agent:
        assert set(agent.tools()) == TOOLS
        _approved(agent, desk)


def _approved(agent: Agent, desk: Desk) -> None:
    agent.begin("request_approval", action="Refund", arguments={"cents": 500}, wait_seconds=50)
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
    done = agent.call("record_outcome", watchId=watch_id, status="succeeded", note="R-7")
    assert (done["approved"], done["execution"]) == (False, "succeeded")
    (pause,) = desk.all()
    assert pause["consumption"]["outcome"]["note"] == "R-7"
    assert pause["metadata"]["door"] == "mcp"
    assert pause["metadata"]["client"]["tool"] == "request_approval"
