"""The page of the door: what it prints runs as printed."""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from string import Template

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.clients.claude_hook.test_claude_code import CLAUDE
from tests.clients.desk import WITHIN, Desk
from tests.clients.install import get, required
from tests.clients.mcp.agent import HERE
from tests.clients.mcp.conftest import FASTMCP, LANGCHAIN

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "doors" / "mcp.md").read_text()
TOOLS = 7
# The first installation of the clients takes minutes.
pytestmark = pytest.mark.timeout(600)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_agent_of_the_page(desk: Desk) -> None:
    (program,) = blocks("python")
    agent = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **desk.environ}, stdout=subprocess.PIPE, text=True
    )
    desk.decide("approve", arguments={"order": "4711", "cents": 9900})
    printed, _ = agent.communicate(timeout=WITHIN)
    assert agent.returncode == 0
    assert ast.literal_eval(printed.removeprefix("refunding ")) == {"order": "4711", "cents": 9900}
    (pause,) = desk.all()
    assert pause["consumption"]["outcome"]["status"] == "succeeded"


def test_the_page_names_the_versions_that_the_tests_drive() -> None:
    found = dict(re.findall(r"^\| `([^`]+)` (\S+) \(", PAGE, re.MULTILINE))
    driven = json.loads((HERE / "typescript" / "package.json").read_text())["dependencies"]
    for lock in (FASTMCP, LANGCHAIN):
        pins = (lock.parent / "requirements.in").read_text().replace("fastmcp-slim[client]", "fastmcp")
        driven |= re.findall(r"^(fastmcp|langchain-mcp-adapters)==(.+)", pins, re.MULTILINE)
    assert found == {**driven, "mcp": version("mcp")}


@pytest.mark.parametrize("number", range(2))
def test_the_configurations_of_the_page(desk: Desk, number: int) -> None:
    """As a client reads them, which replaces the variables."""
    server = json.loads(Template(blocks("json")[number]).substitute(desk.environ))["mcpServers"]["sagahold"]

    async def tools() -> int:
        if server["type"] == "http":
            http = httpx2.AsyncClient(headers=server["headers"], timeout=70)
            target = streamable_http_client(server["url"], http_client=http)
        else:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            target = StdioServerParameters(
                command=server["command"], args=server["args"], env={**server["env"], "PATH": path}
            )
        async with Client(target) as client:
            return len((await client.list_tools()).tools)

    assert asyncio.run(tools()) == TOOLS


def test_claude_code_connects(desk: Desk, tmp_path: Path) -> None:
    """By the command of the page. The client tells whether it has reached the server."""
    if why := get(CLAUDE.parents[2]):
        (pytest.fail if required() else pytest.skip)(why)
    (command,) = blocks("sh")
    environ = {"PATH": f"{CLAUDE.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), **desk.environ}
    environ |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    script = f"set -eu\n{command}claude mcp get sagahold\n"
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=WITHIN
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Connected" in done.stdout
