"""`sagahold` as a job runs it: the environment of one CI job, and nothing of this machine's own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import SAGAHOLD, Ran, finish
from tests.clients.desk import Desk

Start = Callable[..., "subprocess.Popen[str]"]
OWN = ("SAGAHOLD_", "GITHUB_", "CI", "BUILD")


@pytest.fixture
def start(desk: Desk, tmp_path: Path) -> Iterator[Start]:
    """`start("ask", …, NAME=value)` starts the command."""
    started = []

    def run(*args: str, cwd: Path = tmp_path, **environ: str) -> "subprocess.Popen[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        process = subprocess.Popen(
            [SAGAHOLD, *args],
            **{"env": {**kept, **desk.environ, **environ}, "cwd": cwd, "text": True, "stdin": subprocess.DEVNULL},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(start: Start) -> Callable[..., Ran]:
    return lambda *args, **environ: finish(start(*args, **environ))
