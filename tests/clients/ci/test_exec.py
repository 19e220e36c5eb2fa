"""`sagahold hook exec -- COMMAND` runs the approved command once, or nothing."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import Ran, finish
from tests.clients.ci.conftest import Start
from tests.clients.desk import WITHIN, Desk, restart_web

NOT_RUN = 125
EXEC = ("hook", "exec")
NOTE = ("--", "sh", "-c", 'echo "ran $0" | tee -a notes; exit "$1"', "publish", "0")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def outcome(desk: Desk) -> Any:
    (pause,) = desk.all()
    found = pause.get("consumption", {}).get("outcome")
    return found and (found["status"], found["note"])


def test_an_approved_command_runs(desk: Desk, start: Start, notes: Path) -> None:
    running = start(*EXEC, *NOTE)
    (pause,) = desk.pending()
    assert pause["agentContext"]["arguments"] == {"argv": list(NOTE[1:]), "cwd": str(notes.parent)}
    assert pause["agentContext"]["action"].startswith('sh -c \'echo "ran $0"')
    assert pause["metadata"]["door"] == "exec-hook"
    assert {"tool": "sh", "cwd": str(notes.parent)}.items() <= pause["metadata"]["client"].items()
    desk.decide("approve")
    ran = finish(running)
    assert (ran.code, ran.out) == (0, "ran publish\n")
    assert notes.read_text() == "ran publish\n"
    assert outcome(desk) == ("succeeded", "exit status 0")


def test_an_edited_command_runs_as_edited(desk: Desk, start: Start, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    running = start(*EXEC, *NOTE)
    edited = {"argv": [*NOTE[1:5], "7"], "cwd": str(tmp_path / "other")}
    desk.decide("approve", arguments=edited, revision=1)
    assert finish(running).code == 7
    assert (tmp_path / "other" / "notes").read_text() == "ran publish\n"
    assert not notes.exists()
    assert outcome(desk) == ("failed", "exit status 7")


@pytest.mark.parametrize(
    "edited",
    [
        {"argv": [], "cwd": "/"},
        {"argv": "sh", "cwd": "/"},
        {"argv": ["sh", 1], "cwd": "/"},
        {"argv": ["sh"], "cwd": "/does/not/exist"},
        {"argv": ["sh"]},
        {"argv": ["sh"], "cwd": "/", "env": {}},
    ],
)
def test_an_edit_that_is_no_command_does_not_run(desk: Desk, start: Start, edited: dict[str, Any]) -> None:
    running = start(*EXEC, *NOTE)
    desk.decide("approve", arguments=edited, revision=1)
    assert finish(running).code == NOT_RUN
    assert outcome(desk) is None


def test_a_rejected_or_expired_command_does_not_run(desk: Desk, start: Start, notes: Path) -> None:
    running = start(*EXEC, *NOTE)
    desk.decide("reject", comment="no")
    ran = finish(running)
    assert ran.code == NOT_RUN
    assert "is rejected by test reviewer: no" in ran.err
    assert finish(start(*EXEC, "--wait", "1s", *NOTE)).code == NOT_RUN
    assert not notes.exists()


def test_failures(call: Callable[..., Ran], notes: Path) -> None:
    for options, environ in [
        ((), {"SAGAHOLD_API_KEY": "hitl_unknown"}),
        ((), {"SAGAHOLD_URL": ""}),
        (("--nonsense",), {}),
        (("--review", "[]"), {}),
    ]:
        ran = call(*EXEC, *options, *NOTE, **environ)
        assert (ran.code, ran.out) == (NOT_RUN, "")
        assert ran.err.startswith("sagahold: ")
    assert call(*EXEC).code == NOT_RUN
    assert not notes.exists()


def test_a_command_that_is_not_there(desk: Desk, start: Start) -> None:
    running = start(*EXEC, "--", "no-such-command")
    desk.decide("approve")
    assert finish(running).code == 127
    assert outcome(desk) == ("failed", "No such file or directory")


def test_a_command_that_a_signal_without_a_name_ends(desk: Desk, start: Start) -> None:
    running = start(*EXEC, "--", "sh", "-c", "kill -35 $$")
    desk.decide("approve")
    assert finish(running).code == 128 + 35
    assert outcome(desk) == ("failed", "ended by signal 35")


def test_killed_before_the_decision_and_started_again(desk: Desk, start: Start, notes: Path) -> None:
    killed = start(*EXEC, "--key", "publish-7", *NOTE)
    desk.pending()
    killed.kill()
    finish(killed)
    desk.decide("approve")
    assert finish(start(*EXEC, "--key", "publish-7", *NOTE)).code == 0
    assert finish(start(*EXEC, "--key", "publish-7", *NOTE)).code == NOT_RUN
    assert notes.read_text() == "ran publish\n"
    assert len(desk.all()) == 1


def test_a_signal_during_the_wait_cancels_the_request(desk: Desk, start: Start, notes: Path) -> None:
    running = start(*EXEC, *NOTE)
    assert running.stderr is not None
    assert "waits for a decision" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    assert finish(running).code == 128 + signal.SIGINT
    assert [pause["status"] for pause in desk.all()] == ["cancelled"]
    assert not notes.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command(desk: Desk, start: Start, notes: Path, number: signal.Signals) -> None:
    code = "import pathlib, signal, sys; pathlib.Path('notes').touch(); signal.pause()"
    running = start(*EXEC, "--", sys.executable, "-c", code)
    desk.decide("approve")
    assert wait_until(notes.exists, WITHIN)
    running.send_signal(number)
    assert finish(running).code == 128 + number
    assert outcome(desk) == ("failed", f"ended by {number.name}")


def test_the_server_is_away_at_the_start_and_is_restarted_during_the_wait(
    stack: Stack, desk: Desk, start: Start, notes: Path
) -> None:
    running = []

    def begin() -> None:
        running.append(start(*EXEC, *NOTE))
        assert running[0].stderr is not None
        assert "it is tried again" in running[0].stderr.readline()

    restart_web(stack, begin)
    desk.pending()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert finish(running[0]).code == 0
    assert outcome(desk) == ("succeeded", "exit status 0")
