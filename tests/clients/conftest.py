"""The contract as the stack serves it, and what reads it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk
from tests.clients.install import HERE, NODE, PYTHON, get, required


@pytest.fixture
def desk(stack: Stack, client_for: Callable[..., httpx.Client]) -> Desk:
    agent_key = client_for("agent").headers["Authorization"].removeprefix("Bearer ")
    return Desk(stack.url, agent_key, client_for("reviewer"))


@pytest.fixture(scope="session")
def document(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.url}/openapi.json").json()
    return found


@pytest.fixture(scope="session")
def contract(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("contract") / "openapi.json"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture(scope="session")
def node() -> Callable[..., str]:
    """`node("redocly", "lint", …)`: what a program of the node packages says; it must succeed."""
    return _runner(NODE, NODE / ".bin")


@pytest.fixture(scope="session")
def python() -> Callable[..., str]:
    return _runner(PYTHON, PYTHON / "bin")


def _runner(needed: Path, programs: Path) -> Callable[..., str]:
    if why := get(needed):
        (pytest.fail if required() else pytest.skip)(why)

    def run(program: str, *arguments: str | Path, cwd: Path = HERE) -> str:
        # They call other programs by their names, of the same folder and of the system.
        environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "REDOCLY_TELEMETRY": "off"}
        found = shutil.which(program, path=environ["PATH"])
        assert found is not None, f"{program} is neither in {programs} nor on PATH"
        ran = subprocess.run([found, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
        return ran.stdout + ran.stderr

    return run
