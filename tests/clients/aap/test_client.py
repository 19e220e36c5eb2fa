"""The README's example of `agentapprovalprotocol` against the server, with another base URL and key."""

import json
import re
import signal
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk, restart_web
from tests.clients.programs import Start, ended, noted

# The environment may have to be installed first.
pytestmark = pytest.mark.timeout(600)
MANUAL = Path(__file__).parents[3] / "docs/doors/aap.md"
DENIED = "A reviewer at the AAP (Agent Approval Protocol) provider denied this call."
RAN = ['{"order": "A-1", "cents": 4900}']
USED = (
    "This approved call was already attempted, so it was not run again."
    " Request approval again if it still needs to happen."
)


def outcomes(desk: Desk) -> list[str | None]:
    used = [pause.get("consumption") for pause in desk.all()]
    return [each and each.get("outcome", {}).get("status") for each in used]


def test_approved(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("readme_agent.py", "run-1", tmp_path / "notes")
    desk.decide("approve")
    assert ended(agent) == "refunded"
    assert noted(tmp_path) == RAN
    assert outcomes(desk) == ["succeeded"]
    # The run begins again, as after a crash: the call was attempted, so it does not run again.
    assert ended(start("readme_agent.py", "run-1", tmp_path / "notes")) == USED
    assert noted(tmp_path) == RAN


def test_the_quick_start(desk: Desk, start: Start, tmp_path: Path) -> None:
    """It runs as printed in docs/doors/aap.md."""
    agent = tmp_path / "agent.py"
    agent.write_text(re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)[0])
    process = start(agent)
    desk.decide("approve")
    assert ended(process) == "refund 4900 cents"
    assert outcomes(desk) == ["succeeded"]


def test_rejected(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("readme_agent.py", "run-1", tmp_path / "notes")
    desk.decide("reject", comment="Too much")
    assert ended(agent) == f"{DENIED} Their note: Too much"
    assert noted(tmp_path) == []


def test_edited(desk: Desk, start: Start, tmp_path: Path) -> None:
    """The client could only run the old arguments, so it is denied, and told the approved ones."""
    agent = start("readme_agent.py", "run-1", tmp_path / "notes")
    desk.decide("approve", arguments={"order": "A-1", "cents": 100}, revision=1)
    assert ended(agent) == (
        f"{DENIED} Their note: The reviewer approved other arguments."
        ' Request approval of a call with these: {"order":"A-1","cents":100}'
    )
    assert noted(tmp_path) == []
    assert outcomes(desk) == [None]


def test_expired(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("readme_agent.py", "run-1", tmp_path / "notes", GATE=json.dumps({"timeout": "1s"}))
    assert ended(agent) == "The approval window or permission to start this call expired. The call was not run."
    assert [pause["status"] for pause in desk.all()] == ["expired"]


def test_given_up(desk: Desk, start: Start, tmp_path: Path) -> None:
    """The client waits no longer, and takes the request back."""
    agent = start("readme_agent.py", "run-1", tmp_path / "notes", GATE=json.dumps({"wait_limit": 0}))
    assert ended(agent) == "Approval was not obtained in time. The call was not run."
    assert [pause["status"] for pause in desk.all()] == ["cancelled"]


def test_killed_while_it_waits(desk: Desk, start: Start, tmp_path: Path) -> None:
    first = start("readme_agent.py", "run-1", tmp_path / "notes")
    desk.pending()
    first.kill()
    ended(first, -signal.SIGKILL)
    desk.decide("approve")
    assert ended(start("readme_agent.py", "run-1", tmp_path / "notes")) == "refunded"
    assert noted(tmp_path) == RAN
    assert outcomes(desk) == ["succeeded"]


def test_killed_after_the_approval_was_used(desk: Desk, start: Start, tmp_path: Path) -> None:
    first = start("readme_agent.py", "run-1", tmp_path / "notes", DIE="1")
    desk.decide("approve")
    ended(first, -signal.SIGKILL)
    assert ended(start("readme_agent.py", "run-1", tmp_path / "notes")) == USED
    assert noted(tmp_path) == []


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, start: Start, tmp_path: Path) -> None:
    # A start on a busy machine may take longer than the half minute for which the client tries again.
    agent = start("readme_agent.py", "run-1", tmp_path / "notes", BUDGET="120")
    desk.pending()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert ended(agent) == "refunded"
    assert noted(tmp_path) == RAN


def test_a_refused_key(desk: Desk, start: Start, tmp_path: Path) -> None:
    agent = start("readme_agent.py", "run-1", tmp_path / "notes", SAGAHOLD_API_KEY="hitl_" + "x" * 40)
    assert "refused this agent's credential" in ended(agent)
    assert noted(tmp_path) == []
