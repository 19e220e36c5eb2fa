"""Adapters of `agentapprovalprotocol` in async mode: the process is killed between the pause and the decision."""

import signal
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk, restart_web
from tests.clients.programs import Start, ended, noted

# The environment may have to be installed first.
pytestmark = pytest.mark.timeout(600)
PROGRAMS = ["langgraph_agent.py", "pydantic_agent.py"]


def paused(start: Start, program: str, folder: Path) -> str:
    """Start the agent, kill it once it has paused, and return the id of its request."""
    process = start(program, "start", "thread-1", folder)
    assert process.stdout is not None
    request_id = process.stdout.readline().strip()
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    return request_id


def woken(start: Start, program: str, folder: Path, request_id: str) -> str:
    return ended(start(program, "wake", "thread-1", folder, request_id))


@pytest.mark.parametrize("program", PROGRAMS)
def test_killed_before_the_approval(desk: Desk, start: Start, tmp_path: Path, program: str) -> None:
    request_id = paused(start, program, tmp_path)
    (pause,) = desk.pending()
    assert pause["metadata"]["client"]["framework"] == program.partition("_")[0].replace("pydantic", "pydantic-ai")
    desk.decide("approve")
    assert woken(start, program, tmp_path, request_id) == "refunded 4900 for A-1"
    assert noted(tmp_path) == ["A-1 4900"]
    (pause,) = desk.all()
    assert pause["consumption"]["outcome"]["status"] == "succeeded"


def test_killed_before_an_edit(desk: Desk, start: Start, tmp_path: Path) -> None:
    request_id = paused(start, "langgraph_agent.py", tmp_path)
    desk.decide("approve", arguments={"order": "A-1", "cents": 100}, revision=1)
    said = woken(start, "langgraph_agent.py", tmp_path, request_id)
    assert said.endswith('Request approval of a call with these: {"order":"A-1","cents":100}')
    assert noted(tmp_path) == []


def test_woken_before_the_decision_and_after_a_restart(stack: Stack, desk: Desk, start: Start, tmp_path: Path) -> None:
    """A wake-up alone approves nothing."""
    request_id = paused(start, "langgraph_agent.py", tmp_path)
    assert woken(start, "langgraph_agent.py", tmp_path, request_id) == "paused"
    restart_web(stack, lambda: None)
    desk.decide("reject", comment="No")
    assert woken(start, "langgraph_agent.py", tmp_path, request_id).endswith("Their note: No")
    assert noted(tmp_path) == []
    assert len(desk.all()) == 1
