"""Claude Code 2.1.332, unmodified, with the installed hook and a model on loopback."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import SAGAHOLD
from tests.clients.claude_hook.driver import Hook
from tests.clients.claude_hook.model import Model, serve
from tests.clients.desk import WITHIN, Desk
from tests.clients.install import get, required

HERE = Path(__file__).parent / "cli"
CLAUDE = HERE / "node_modules" / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
PLUGIN = Path(__file__).parents[3] / "integrations" / "claude-code-plugin"
EDIT = {"arguments": {"command": "echo edited > made"}, "revision": 1}
Claude = Callable[..., "subprocess.Popen[str]"]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def model() -> Model:
    return Model("echo asked > made")


@pytest.fixture
def claude(hook: Hook, model: Model) -> Iterator[Claude]:
    """`claude("-p", …, NAME=value)` starts Claude Code in a project that allows Bash by itself."""
    if why := get(HERE / "node_modules"):
        (pytest.fail if required() else pytest.skip)(why)
    trusted = {"projects": {str(hook.project): {"hasTrustDialogAccepted": True}}}
    (hook.home / ".claude.json").write_text(json.dumps(trusted))
    settings = hook.project / ".claude" / "settings.json"
    settings.write_text('{"permissions": {"allow": ["Bash"]}}')
    subprocess.run([SAGAHOLD, "hook", "install", "--timeout", "300"], cwd=hook.project, env=hook.environ, check=True)
    kept = {name: value for name, value in hook.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE", "AI_"))}
    own = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "ANTHROPIC_API_KEY": "none"}
    with serve(model) as url:
        started = []

        def run(*args: str, **environ: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [CLAUDE, *args, "--output-format", "json"],
                env={**kept, **own, "ANTHROPIC_BASE_URL": url, **environ},
                cwd=hook.project,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            started.append(process)
            return process

        yield run
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 0, out + err
    found: dict[str, Any] = json.loads(out)
    return found


def outcomes(desk: Desk) -> list[Any]:
    return [pause.get("consumption", {}).get("outcome", {}).get("status") for pause in desk.all()]


def test_an_edited_call_runs_as_approved(desk: Desk, hook: Hook, claude: Claude) -> None:
    running = claude("-p", "do it")
    desk.decide("approve", **EDIT)
    assert result(running)["result"] == "done"
    assert (hook.project / "made").read_text() == "edited\n"
    assert outcomes(desk) == ["succeeded"]


def test_a_rejected_call_does_not_run(desk: Desk, hook: Hook, claude: Claude, model: Model) -> None:
    running = claude("-p", "do it")
    desk.decide("reject", comment="not today")
    assert result(running)["result"] == "done"
    assert "rejected by test reviewer: not today" in model.results[0]
    assert not (hook.project / "made").exists()


def test_nothing_runs_while_the_server_is_down(hook: Hook, claude: Claude, model: Model) -> None:
    assert result(claude("-p", "do it", SAGAHOLD_URL="http://127.0.0.1:1"))["result"] == "done"
    assert "sagahold: blocked: cannot reach http://127.0.0.1:1" in model.results[0]
    assert not (hook.project / "made").exists()


def test_a_deferred_call_survives_the_end_of_the_process(desk: Desk, hook: Hook, claude: Claude) -> None:
    command = [SAGAHOLD, "hook", "install", "--timeout", "300", "--defer"]
    subprocess.run(command, cwd=hook.project, env=hook.environ, check=True)
    ended = result(claude("-p", "do it"))
    assert (ended["stop_reason"], ended["deferred_tool_use"]["id"]) == ("tool_deferred", "toolu_01")
    desk.decide("approve", **EDIT)
    assert result(claude("-p", "--resume", ended["session_id"]))["result"] == "done"
    assert (hook.project / "made").read_text() == "edited\n"
    assert outcomes(desk) == ["succeeded"]


def test_the_plugin_holds_calls(desk: Desk, hook: Hook, claude: Claude) -> None:
    subprocess.run([SAGAHOLD, "hook", "install", "--remove"], cwd=hook.project, env=hook.environ, check=True)
    running = claude("--plugin-dir", str(PLUGIN), "-p", "do it", PATH=f"{SAGAHOLD.parent}:{hook.environ['PATH']}")
    desk.decide("approve", **EDIT)
    assert result(running)["result"] == "done"
    assert (hook.project / "made").read_text() == "edited\n"
    assert outcomes(desk) == ["succeeded"]
