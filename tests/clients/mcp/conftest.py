"""Agents of each client, and a program without a client library."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.desk import Desk
from tests.clients.install import get, required
from tests.clients.mcp.agent import HERE, Agent
from tests.clients.mcp.wire import Post

OWN, NODE = Path(sys.executable).parent, HERE / "typescript" / "node_modules"
# The client of LangChain is in the environment that has LangChain.
FASTMCP, LANGCHAIN = HERE / "fastmcp" / ".venv", HERE.parent / "adapters" / ".venv"
SDK_1, SDK_2 = "@modelcontextprotocol/sdk", "@modelcontextprotocol/client"
# The environment that has to be installed, and the command.
CLIENTS: dict[str, tuple[Path | None, tuple[str | Path, ...]]] = {
    "mcp": (None, (sys.executable, HERE / "agent_of_mcp.py", "http", "auto")),
    "mcp-legacy": (None, (sys.executable, HERE / "agent_of_mcp.py", "http", "legacy")),
    "mcp-stdio": (None, (sys.executable, HERE / "agent_of_mcp.py", "stdio", "auto")),
    "fastmcp": (FASTMCP, (FASTMCP / "bin/python", HERE / "agent_of_fastmcp.py")),
    "langchain": (LANGCHAIN, (LANGCHAIN / "bin/python", HERE / "agent_of_langchain.py")),
    "typescript-1": (NODE, ("node", HERE / "typescript" / "agent.mjs", "http", SDK_1)),
    "typescript-2": (NODE, ("node", HERE / "typescript" / "agent.mjs", "http", SDK_2)),
    "typescript-2-stdio": (NODE, ("node", HERE / "typescript" / "agent.mjs", "stdio", SDK_2)),
}


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(desk: Desk) -> Iterator[Callable[[str], Agent]]:
    """`start("mcp")`: an agent in the desk's namespace. Each ends with the test."""
    started: list[Agent] = []

    def make(client: str) -> Agent:
        folder, command = CLIENTS[client]
        if folder is not None and (why := get(folder)):
            (pytest.fail if required() else pytest.skip)(why)
        started.append(Agent(command, {**desk.environ, "SAGAHOLD_COMMAND": str(OWN / "sagahold")}))
        return started[-1]

    yield make
    for agent in started:
        agent.kill()


@pytest.fixture(autouse=True)
def own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no agent import the packages of the tests."""
    for name in os.environ:
        if name.startswith("PYTHON"):
            monkeypatch.delenv(name)


@pytest.fixture
def post(desk: Desk) -> Post:
    """Post a message with the headers that its version needs; `headers` changes them, None removes one."""

    def send(message: Any, version: str = "2026-07-28", headers: dict[str, str | None] | None = None) -> httpx.Response:
        sent: dict[str, str | None] = {
            "Authorization": f"Bearer {desk.agent_key}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": version,
        }
        if isinstance(message, dict):
            sent["Mcp-Method"] = str(message.get("method"))
            params = message.get("params")
            name = params.get("name", params.get("taskId")) if isinstance(params, dict) else None
            sent["Mcp-Name"] = name if isinstance(name, str) else None
        sent |= headers or {}
        kept = {key: value.encode() for key, value in sent.items() if value is not None}
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return httpx.post(f"{desk.url}/mcp", content=body, headers=kept)

    return send
