"""A Node process that dies by kill -9 at any step, and starts again, runs the approved action at most once."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import sagahold

from cli.devstack import Stack
from tests.clients.desk import Desk, restart_web
from tests.clients.node_agent import Agent

pytestmark = pytest.mark.timeout(600)
Start = Callable[..., Agent]
EDIT = {"arguments": {"order": "A-1", "cents": 9_900}, "revision": 1}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def refund(start: Callable[..., Agent], notes: Path) -> Start:
    return lambda step="none": start("refund_agent.mjs", notes, step)


def noted(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.parametrize("step", ["before-request", "after-request", "before-wait"])
def test_killed_before_the_decision(desk: Desk, refund: Start, notes: Path, step: str) -> None:
    refund(step).ended(-signal.SIGKILL)
    again = refund()
    desk.decide("approve", **EDIT)
    assert again.ended() == "done\n"
    assert noted(notes) == ["A-1 9900"]
    assert [pause["consumption"]["outcome"]["status"] for pause in desk.all()] == ["succeeded"]


def test_killed_while_it_waits_and_decided_while_it_is_dead(desk: Desk, refund: Start, notes: Path) -> None:
    first = refund()
    (pause,) = desk.pending()
    assert (pause["metadata"]["door"], pause["metadata"]["client"]) == ("js-sdk", {"function": "refund"})
    first.kill()
    desk.decide("approve", **EDIT)
    assert refund().ended() == "done\n"
    assert noted(notes) == ["A-1 9900"]
    assert len(desk.all()) == 1


@pytest.mark.parametrize(
    ("step", "verdict", "printed"),
    [("after-wait", "reject", "Rejected"), ("after-wait", "approve", "done"), ("before-consume", "approve", "done")],
)
def test_killed_after_the_decision(
    desk: Desk, refund: Start, notes: Path, step: str, verdict: str, printed: str
) -> None:
    first = refund(step)
    desk.decide(verdict, **(EDIT if verdict == "approve" else {}))
    first.ended(-signal.SIGKILL)
    assert refund().ended().startswith(printed)
    assert noted(notes) == (["A-1 9900"] if verdict == "approve" else [])
    assert len(desk.all()) == 1


@pytest.mark.parametrize(
    ("step", "times", "words"),
    [
        ("after-consume", 0, "its result is unknown"),
        ("inside", 1, "its result is unknown"),
        ("before-outcome", 1, "its result is unknown"),
        ("after-outcome", 1, "and succeeded. It does not run again"),
    ],
)
def test_killed_after_the_approval_was_used(
    desk: Desk, refund: Start, notes: Path, step: str, times: int, words: str
) -> None:
    """Only a person can know whether the action took place. Their answer is then what each later start gets."""
    first = refund(step)
    watch_id = desk.decide("approve")
    first.ended(-signal.SIGKILL)
    printed = refund().ended()
    assert printed.startswith("AlreadyUsed “Refund 12900 for A-1” was ")
    assert words in printed
    assert noted(notes) == ["A-1 12900"] * times
    with sagahold.Client(desk.url, desk.agent_key) as client:
        assert (client.get(watch_id).outcome is None) == (step != "after-outcome")
        client.outcome(watch_id, "succeeded")
    assert "and succeeded. It does not run again" in refund().ended()
    assert noted(notes) == ["A-1 12900"] * times


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, refund: Start, notes: Path) -> None:
    agent = refund()
    try:
        desk.pending()
        restart_web(stack, lambda: None)
        desk.decide("approve")
        assert agent.ended() == "done\n"
    finally:
        agent.kill()
    assert noted(notes) == ["A-1 12900"]
    assert [pause["consumption"]["outcome"]["status"] for pause in desk.all()] == ["succeeded"]
