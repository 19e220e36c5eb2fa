"""Programs of other projects' packages, each in a process of that package's own environment."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.desk import WITHIN
from tests.clients.install import get, required

Program = subprocess.Popen[str]
Start = Callable[..., Program]


@contextmanager
def programs(folder: Path, environ: Mapping[str, str]) -> Iterator[Start]:
    """Yield `start("agent.py", …)`, which runs a file of the folder. The processes end with the block.

    The environment is the folder's `.venv`, which is installed first. Keyword arguments of `start` are environment
    variables of the process.
    """
    venv = folder / ".venv"
    if why := get(venv):
        (pytest.fail if required() else pytest.skip)(why)
    started: list[Program] = []

    def start(program: str | Path, *arguments: Any, **more: str) -> Program:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [venv / "bin/python", folder / program, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env={**inherited, **environ, **more}, text=True, **pipes))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ended(process: Program, status: int = 0) -> str:
    """Wait for the process, and return what it printed."""
    printed, errors = process.communicate(timeout=WITHIN)
    assert process.returncode == status, errors
    return str(printed).strip()


def noted(folder: Path) -> list[str]:
    """Return the lines that the agent's tool wrote into the file `notes`."""
    notes = folder / "notes"
    return notes.read_text().splitlines() if notes.exists() else []
