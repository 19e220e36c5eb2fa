"""Agents of each client."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.mcp.agent import HERE, Agent

COMMANDS: dict[str, tuple[str | Path, ...]] = {
    "mcp": (sys.executable, HERE / "agent_of_mcp.py", "http", "auto"),
    "mcp-legacy": (sys.executable, HERE / "agent_of_mcp.py", "http", "legacy"),
}


@pytest.fixture(params=list(COMMANDS))
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(desk: Desk) -> Callable[[str], Agent]:
    """`start("mcp")`: an agent in the desk's namespace."""

    def make(client: str) -> Agent:
        return Agent(COMMANDS[client], desk.environ)

    return make
