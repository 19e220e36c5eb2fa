"""An agent's program, and what it did."""

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.desk import WITHIN, Desk

# The tool calls of a turn with two.
TWO = json.dumps([{"order": "A-1", "cents": 12900}, {"order": "B-2", "cents": 500}])


class Agent:
    """An agent's program and its folder. Each start is a new process that continues from what the folder has."""

    def __init__(self, command: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.command, self.folder, self.environ = command, folder, environ
        self.started: list[subprocess.Popen[str]] = []

    def start(self, **environ: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test has left."""
        for process in self.started:
            with process:
                process.kill()

    def run(self, status: int = 0, **environ: str) -> str:
        """Run to the end with this exit status. Return what it printed, or its traceback."""
        return self.ended(self.start(**environ), status)

    def ended(self, process: "subprocess.Popen[str]", status: int = 0) -> str:
        try:
            printed, errors = process.communicate(timeout=WITHIN)
        finally:
            process.kill()
        assert process.returncode == status, printed + errors
        return printed if status == 0 else errors

    def die_at(self, step: str) -> None:
        self.run(-signal.SIGKILL, DIE_AT=step)

    @property
    def noted(self) -> list[str]:
        """Return what the tool did."""
        notes = self.folder / "notes"
        return notes.read_text().splitlines() if notes.exists() else []


def outcomes(desk: Desk) -> dict[str, Any]:
    """Return the reported outcome of each approval that was used, by the order of its arguments."""
    found = {}
    for pause in desk.all():
        if "consumption" in pause:
            order = pause["agentContext"]["arguments"]["order"]
            found[order] = (pause["consumption"].get("outcome") or {}).get("status")
    return found


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def decide(desk: Desk, order: str, verdict: str, **body: object) -> None:
    """Decide the pause of this order."""
    (pause,) = [each for each in desk.pending() if each["agentContext"]["arguments"]["order"] == order]
    if verdict == "approve":
        body["revision"] = pause["revision"]
    desk.http.post(f"/api/pause/{pause['watchId']}/{verdict}", json=body).raise_for_status()


def edited(order: str, cents: int) -> dict[str, object]:
    return {"arguments": {"order": order, "cents": cents}}
