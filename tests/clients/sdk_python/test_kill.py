"""A process that dies by kill -9 at any step, and starts again, runs the approved action at most once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sagahold

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk, restart_web

AGENT = Path(__file__).with_name("refund_agent.py")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def start(desk: Desk, notes: Path) -> Start:
    def run(step: str = "none") -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(Path(sagahold.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, **desk.environ, "PYTHONPATH": path}
        command = [sys.executable, str(AGENT), str(notes), step]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


def ended(process: "subprocess.Popen[str]", status: int = 0) -> str:
    try:
        printed, errors = process.communicate(timeout=WITHIN)
    finally:
        process.kill()
    assert process.returncode == status, errors
    return printed


def noted(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


EDIT = {"arguments": {"order": "A-1", "cents": 9_900}, "revision": 1}


@pytest.mark.parametrize("step", ["before-request", "after-request", "before-wait"])
def test_killed_before_the_decision(desk: Desk, start: Start, notes: Path, step: str) -> None:
    ended(start(step), -signal.SIGKILL)
    again = start()
    desk.decide("approve", **EDIT)
    assert ended(again) == "done\n"
    assert noted(notes) == ["A-1 9900"]
    assert [pause["consumption"]["outcome"]["status"] for pause in desk.all()] == ["succeeded"]


def test_killed_while_it_waits_and_decided_while_it_is_dead(desk: Desk, start: Start, notes: Path) -> None:
    first = start()
    desk.pending()
    first.kill()
    ended(first, -signal.SIGKILL)
    desk.decide("approve", **EDIT)
    assert ended(start()) == "done\n"
    assert noted(notes) == ["A-1 9900"]
    assert len(desk.all()) == 1


@pytest.mark.parametrize(
    ("step", "verdict", "error"),
    [("after-wait", "reject", "Rejected"), ("after-wait", "approve", "done"), ("before-consume", "approve", "done")],
)
def test_killed_after_the_decision(desk: Desk, start: Start, notes: Path, step: str, verdict: str, error: str) -> None:
    first = start(step)
    desk.decide(verdict, **(EDIT if verdict == "approve" else {}))
    ended(first, -signal.SIGKILL)
    assert ended(start()).startswith(error)
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
    desk: Desk, start: Start, notes: Path, step: str, times: int, words: str
) -> None:
    """Only a person can know whether the action took place. Their answer is then what each later start gets."""
    first = start(step)
    watch_id = desk.decide("approve")
    ended(first, -signal.SIGKILL)
    for _ in range(2):
        printed = ended(start())
        assert printed.startswith("AlreadyUsed “Refund 12900 for A-1” was ")
        assert words in printed
    assert noted(notes) == ["A-1 12900"] * times
    with sagahold.Client(desk.url, desk.agent_key) as client:
        assert (client.get(watch_id).outcome is None) == (step != "after-outcome")
        client.outcome(watch_id, "succeeded")
    assert "and succeeded. It does not run again" in ended(start())
    assert noted(notes) == ["A-1 12900"] * times


def test_the_server_is_restarted_during_the_wait_and_during_the_run(
    stack: Stack, desk: Desk, start: Start, notes: Path
) -> None:
    """The agent waits for the server, and the report of the outcome does too."""
    agent = start("slow")
    try:
        desk.pending()
        restart_web(stack, lambda: None)
        desk.decide("approve")
        assert wait_until(lambda: noted(notes) == ["A-1 12900"], WITHIN)
        restart_web(stack, notes.with_suffix(".go").touch)
        assert ended(agent) == "done\n"
    finally:
        agent.kill()
    assert noted(notes) == ["A-1 12900"]
    assert [pause["consumption"]["outcome"]["status"] for pause in desk.all()] == ["succeeded"]


def test_the_agent_is_killed_while_the_server_is_away(stack: Stack, desk: Desk, start: Start, notes: Path) -> None:
    first = start()
    desk.pending()
    restart_web(stack, first.kill)
    ended(first, -signal.SIGKILL)
    again = start()
    desk.decide("approve", **EDIT)
    assert ended(again) == "done\n"
    assert noted(notes) == ["A-1 9900"]
    assert len(desk.all()) == 1
