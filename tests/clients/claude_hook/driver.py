"""Run `sagahold hook claude` with an event as Claude Code 2.1.332 sends it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.commands import SAGAHOLD
from tests.clients.desk import WITHIN

# Recorded from the CLI, without the fields that the hook does not read.
EVENT = {
    "session_id": "3dc3ed2c-3484-45c8-8a9e-fbed60d73040",
    "transcript_path": "/home/ann/.claude/projects/-home-ann-shop/3dc3ed2c-3484-45c8-8a9e-fbed60d73040.jsonl",
    "cwd": "/home/ann/shop",
    "prompt_id": "9ada97a2-d55b-4c08-9dcc-cd12f54bbb6b",
    "permission_mode": "default",
    "effort": {"level": "medium"},
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"command": "npm publish", "description": "Publish the package"},
    "tool_use_id": "toolu_01",
}
RESPONSE = {"stdout": "", "stderr": "", "interrupted": False, "isImage": False, "noOutputExpected": False}


class Answered:
    """The result of one run of the hook."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def answer(self) -> dict[str, Any]:
        assert self.status == 0, self.err
        found: dict[str, Any] = json.loads(self.out)["hookSpecificOutput"]
        return found

    @property
    def decision(self) -> str:
        return str(self.answer["permissionDecision"])

    @property
    def blocked(self) -> str:
        """Return the reason of a failure, which blocks."""
        assert (self.status, self.out) == (2, ""), (self.status, self.out, self.err)
        (line,) = self.err.splitlines()
        assert line.startswith("sagahold: ")
        return line.removeprefix("sagahold: ")


class Hook:
    """The hook of one user in one project."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.home = home
        self.project = home / "project"
        (self.project / ".claude").mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAGAHOLD_", "CLAUDE"))}
        own = {"HOME": str(home), "CLAUDE_PROJECT_DIR": str(self.project), "XDG_STATE_HOME": str(home / "state")}
        self.environ = {**kept, **own, **environ}

    def rules(self, text: str) -> None:
        (self.project / ".claude" / "sagahold.toml").write_text(text)

    def start(self, event: dict[str, Any] | str, *options: str, **environ: str) -> "subprocess.Popen[str]":
        """Start the hook, and give it the event."""
        started = subprocess.Popen(
            [SAGAHOLD, "hook", "claude", *options],
            **{"env": {**self.environ, **environ}, "cwd": self.project, "text": True, "stdin": subprocess.PIPE},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        )
        assert started.stdin is not None
        started.stdin.write(event if isinstance(event, str) else json.dumps(event))
        started.stdin.close()
        started.stdin = None
        return started

    def run(self, event: dict[str, Any] | str, *options: str, **environ: str) -> Answered:
        return finish(self.start(event, *options, **environ))


def finish(started: "subprocess.Popen[str]") -> Answered:
    try:
        out, err = started.communicate(timeout=WITHIN)
    finally:
        started.kill()
    return Answered(started.returncode, out, err)


def event(**changed: Any) -> dict[str, Any]:
    return {**EVENT, **changed}


def after(name: str = "PostToolUse", **changed: Any) -> dict[str, Any]:
    """Return the event after the call ran."""
    own = {"tool_response": RESPONSE, "duration_ms": 45} if name == "PostToolUse" else {"is_interrupt": False}
    return event(**{**own, **changed, "hook_event_name": name})


def permission(**changed: Any) -> dict[str, Any]:
    """Return the event before Claude Code asks its user, which has no id of the call."""
    found = event(hook_event_name="PermissionRequest", **changed)
    del found["tool_use_id"]
    return found
