"""The client of GoHumanLoop against the server, with another base URL and key."""

import re
import signal
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk, restart_web
from tests.clients.programs import Start, ended, noted

# The environment may have to be installed first.
pytestmark = pytest.mark.timeout(600)
MANUAL = Path(__file__).parents[3] / "docs/doors/gohumanloop.md"
RAN = ["ACME 9000"]


def test_the_quick_start(desk: Desk, start: Start, tmp_path: Path) -> None:
    """It runs as printed in docs/doors/gohumanloop.md."""
    agent = tmp_path / "agent.py"
    agent.write_text(re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)[0])
    process = start(agent)
    desk.decide("approve")
    assert ended(process) == "sent 9000 to ACME"


def test_the_example_of_the_readme(desk: Desk, start: Start) -> None:
    process = start("readme_agent.py")
    desk.decide("approve", response={"information": "LangGraph"})
    said = ended(process)
    assert '{"information": "LangGraph"}' in said
    assert said.endswith("Thank you.")


def test_approved(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "approval", tmp_path / "notes")
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Call wire"
    assert pause["agentContext"]["arguments"]["arguments"] == "('ACME',)"
    assert pause["agentContext"]["arguments"]["keyword_arguments"] == "{'amount': 9000}"
    assert pause["metadata"]["client"]["tool"] == "wire"
    desk.decide("approve")
    assert ended(agent) == "sent"
    assert noted(tmp_path) == RAN
    assert "consumedAt" in desk.all()[0]["consumption"]


def test_rejected(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "approval", tmp_path / "notes")
    desk.decide("reject", comment="Too much")
    said = ended(agent)
    assert said == "Function wire execution not approved: {'decision': 'rejected', 'reason': 'Too much'}"
    assert noted(tmp_path) == []


def test_edited(desk: Desk, start: Start, tmp_path: Path) -> None:
    """The client could only run the old arguments, so it learns that they are rejected, and the approved ones."""
    agent = start("agent.py", "approval", tmp_path / "notes")
    (pause,) = desk.pending()
    edited = pause["agentContext"]["arguments"] | {"keyword_arguments": "{'amount': 100}"}
    desk.decide("approve", comment="Less", arguments=edited, revision=1)
    said = ended(agent)
    assert said.startswith("Function wire execution not approved: {'decision': 'rejected', 'reason': 'Less")
    assert "amount" in said.partition("Call it again with these: ")[2].partition("100}")[0]
    assert noted(tmp_path) == []


def test_expired(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "approval", tmp_path / "notes", TIMEOUT="1")
    said = ended(agent)
    assert said.endswith("HumanLoopStatus.EXPIRED and the request expired before anyone decided")
    assert noted(tmp_path) == []


def test_killed_while_it_waits(desk: Desk, start: Start, tmp_path: Path) -> None:
    """The client chooses a new id at each start. So it requests again, and the approval of the first is never used."""
    first = start("agent.py", "approval", tmp_path / "notes")
    desk.pending()
    first.kill()
    ended(first, -signal.SIGKILL)
    old = desk.decide("approve")
    second = start("agent.py", "approval", tmp_path / "notes")
    new = desk.decide("approve")
    assert ended(second) == "sent"
    assert noted(tmp_path) == RAN
    assert {pause["watchId"]: "consumption" in pause for pause in desk.all()} == {old: False, new: True}


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "approval", tmp_path / "notes", TRIES="100")
    desk.pending()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert ended(agent) == "sent"
    assert noted(tmp_path) == RAN


def test_a_conversation_of_two_turns(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "conversation", tmp_path / "notes")
    first = desk.decide("approve", response={"message": "Which one?"})
    second = desk.decide("approve", response={"message": "ACME then.", "end": True})
    assert ended(agent) == "inprogress Which one?\ncompleted ACME then."
    assert first != second


def test_a_refused_key(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("agent.py", "approval", tmp_path / "notes", GOHUMANLOOP_API_KEY="hitl_" + "x" * 40)
    assert "HumanLoopStatus.ERROR and this key is unknown, expired or revoked" in ended(agent)
    assert noted(tmp_path) == []
