"""HumanLayer's clients, as their makers publish them: only the base URL and the key are ours."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.install import get, required
from tests.clients.programs import Program, Start, programs

HERE = Path(__file__).parent


@pytest.fixture
def environ(desk: Desk) -> dict[str, str]:
    return {"HUMANLAYER_API_BASE": f"{desk.url}/compat/humanlayer/v1", "HUMANLAYER_API_KEY": desk.agent_key}


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Start]:
    with programs(HERE, environ) as started:
        yield started


@pytest.fixture
def start_node(environ: dict[str, str]) -> Iterator[Start]:
    node = shutil.which("node")
    why = get(HERE / "node_modules") if node else "node is not on PATH"
    if why:
        (pytest.fail if required() else pytest.skip)(why)
    started: list[Program] = []

    def start(*command: str) -> Program:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = [str(node), *command]
        started.append(subprocess.Popen(program, cwd=HERE, env={**os.environ, **environ}, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
