"""`sagahold demo` as a person runs it: it reports what happens and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from cli.demo.deviation import Deviation
from cli.demo.narrator import Narrator
from cli.demo.receiver import ReceivedMessage, Receiver
from cli.demo.story import Story
from cli.devstack import Stack
from cli.devstack.waiting import wait_until

SAGAHOLD = Path(sys.executable).with_name("sagahold")
END_SECONDS = 170.0
LAST_SECONDS = 60.0
INTERRUPTED = 130


class Demo:
    """The command with its own folder for temporary files, whose name identifies leftovers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The demo must ignore the environment's server and settings.
        other = {"DATABASE_URL": "postgresql://127.0.0.1:1/other", "SAGAHOLD_LOG_LEVEL": "loud", "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [SAGAHOLD, "demo"],
            env={**os.environ, **other, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(END_SECONDS, self.process.kill)
        self._watchdog.start()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate()
        self._watchdog.cancel()
        return self.process.returncode, out, err

    def processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _mentions(process, str(self.folder))]

    def check_left(self) -> None:
        """Check that nothing is left. Programs that its processes started notice their end a moment later."""
        assert wait_until(lambda: self.processes() == [], LAST_SECONDS), self.processes()
        assert list(self.folder.iterdir()) == []


def _mentions(process: psutil.Process, folder: str) -> bool:
    try:
        return process.environ().get("TMPDIR") == folder or any(folder in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    running.process.kill()


def test_it_tells_the_whole_story_and_leaves_nothing(demo: Demo) -> None:
    """One pause is approved, one rejected and one expired. Three signatures are verified and a forged one is refused.
    One saga completes and one is undone, as the tool server's ledger shows. The exit status is 0."""
    assert wait_until(lambda: len(demo.processes()) > 5, END_SECONDS), "the search below would find nothing"
    code, out, err = demo.end()
    assert (code, err) == (0, ""), out
    demo.check_left()
    assert re.findall(r"agent +(\w+) received [\d.]+ m?s after .*; (continues|stops)", out) == [
        ("approved", "continues"),
        ("rejected", "stops"),
        ("expired", "stops"),
    ]
    assert re.findall(r"webhook +(pause\.\w+) after [\d.]+ m?s, signature verified", out) == [
        "pause.approved",
        "pause.rejected",
        "pause.expired",
    ]
    assert len(set(re.findall(r"wch_[0-9a-f]{32}", out))) == 3
    assert len(set(re.findall(r"msg_[0-9a-f]{32}", out))) == 3
    assert "400, the signature does not match the body" in out
    assert re.findall(r"saga +(\w+) \d+ ms after the decision", out) == ["COMPLETED", "COMPENSATED"]
    assert re.findall(r"ledger +(\w+):", out) == [
        *("send_email", "refund"),
        *("send_email", "withdraw_email"),
        "send_email",
    ]
    assert "`sagahold up` runs a stack that stays and prints a link to its dashboard" in out
    assert max(map(len, out.splitlines())) <= 80


def test_interrupted_it_leaves_nothing_either(demo: Demo) -> None:
    assert wait_until(lambda: len(demo.processes()) > 3, END_SECONDS)
    demo.process.send_signal(signal.SIGTERM)
    code, _, err = demo.end()
    assert (code, err.strip()) == (INTERRUPTED, "sagahold: interrupted")
    demo.check_left()


def test_it_does_not_tell_of_a_decision_that_nobody_made(stack: Stack, client_for: Callable[..., httpx.Client]) -> None:
    """The reviewer's key here is another agent's, so the demo ends before anything is approved."""
    agent = client_for("agent")
    clients = {"agent": agent, "reviewer": client_for("agent"), "operator": client_for("operator")}
    keys = {f"{role}_key": client.headers["Authorization"].split()[1] for role, client in clients.items()}
    told = StringIO()
    with Receiver() as receiver, pytest.raises(Deviation, match=r"the reviewer's list is \[\]"):
        Story(Narrator(Console(file=told, width=80)), stack.url, keys, receiver).run()
    assert "waits for the decision" in told.getvalue()
    assert "approved" not in told.getvalue()
    # The demo's agent would wait until this process ends.
    for pause in agent.get("/api/pause", params={"status": "pending"}).json()["items"]:
        agent.post(f"/api/pause/{pause['watchId']}/cancel").raise_for_status()


class Refusing(Receiver):
    def wait_for(self, event_type: str, watch_id: str) -> ReceivedMessage:
        assert wait_until(lambda: len(self.refused) > 0, END_SECONDS)
        return super().wait_for(event_type, watch_id)


def test_it_does_not_tell_of_a_webhook_that_did_not_verify(
    stack: Stack, client_for: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver here has another secret. The test waits until the refused webhook has arrived."""
    monkeypatch.setattr("cli.demo.receiver.ARRIVAL_SECONDS", 0.0)
    monkeypatch.setattr("cli.demo.agent.Agent.signing_secret", lambda _: "whsec_" + "A" * 43 + "=")
    keys = {
        f"{role}_key": client_for(role).headers["Authorization"].split()[1]
        for role in ("agent", "reviewer", "operator")
    }
    told = StringIO()
    with Refusing() as receiver, pytest.raises(Deviation, match=r"no verified webhook pause.approved .*1 were refused"):
        Story(Narrator(Console(file=told, width=80)), stack.url, keys, receiver).run()
    assert "signature verified" not in told.getvalue()
