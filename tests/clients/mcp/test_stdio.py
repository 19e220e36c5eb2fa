"""`sagahold mcp`, line by line: what it passes on, what it answers itself, and how it ends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk
from tests.clients.mcp.agent import Agent
from tests.clients.mcp.wire import VERSIONS, rpc

SAGAHOLD = Path(sys.executable).parent / "sagahold"
# More than WITHIN, which has to end first.
pytestmark = pytest.mark.timeout(600)


class Proxy(Agent):
    """The program, without a client library."""

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__((SAGAHOLD, "mcp"), environ)

    def send(self, message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        self._process.stdin.flush()

    def next(self) -> dict[str, Any]:
        line = self._lines.get(timeout=WITHIN)
        assert line, "the program has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, message: Any) -> dict[str, Any]:
        self.send(message)
        return self.next()


@pytest.fixture
def proxy(desk: Desk) -> Iterator[Callable[..., Proxy]]:
    started: list[Proxy] = []

    def start(**environ: str) -> Proxy:
        started.append(Proxy({**desk.environ, **environ}))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def call(version: str, id_: Any, **arguments: Any) -> dict[str, Any]:
    message = rpc("tools/call", version, name="request_approval", arguments={"action": "Refund", **arguments})
    return message | {"id": id_}


def test_lines_that_are_no_request(proxy: Callable[..., Proxy]) -> None:
    program = proxy()
    assert program.ask("{")["error"]["code"] == -32700
    assert program.ask("[" * 100_000)["error"]["code"] == -32700
    assert program.ask([rpc("ping")])["error"]["code"] == -32600
    for id_ in (None, True, 1.5, [1]):
        refused = program.ask({"jsonrpc": "2.0", "id": id_, "method": "ping"})
        assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    program.send("\n")
    program.send({"jsonrpc": "2.0", "method": "notifications/unknown"})
    big = program.ask(call(VERSIONS[1], "a", context={"x": "x" * 1_100_000}))
    assert (big["id"], big["error"]["code"]) == ("a", -32600)
    odd = rpc("tools/call", name="é\n", arguments={})
    assert program.ask(odd)["error"]["code"] == -32602
    program.end()


def test_two_calls_wait_at_once_and_one_is_cancelled(
    proxy: Callable[..., Proxy], desk: Desk, held: Callable[[], float]
) -> None:
    program = proxy()
    for version in (VERSIONS[0], VERSIONS[2]):
        if version != VERSIONS[0]:
            begun = program.ask(rpc("initialize", version, protocolVersion=version, capabilities={}))
            assert begun["result"]["protocolVersion"] == version
        program.send(call(version, 1, wait_seconds=50))
        program.send(call(version, "1", wait_seconds=50))
        assert wait_until(lambda: held() == 2, WITHIN)
        program.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        assert wait_until(lambda: held() == 1, WITHIN)
        for pause in desk.pending(2):
            desk.http.post(f"/api/pause/{pause['watchId']}/approve").raise_for_status()
        decided = program.next()
        assert (decided["id"], decided["result"]["structuredContent"]["approved"]) == ("1", True)
    program.end()


def test_a_client_that_closes_stdin_ends_the_waits(
    proxy: Callable[..., Proxy], desk: Desk, held: Callable[[], float]
) -> None:
    program = proxy()
    program.send(call(VERSIONS[0], 1, wait_seconds=50))
    assert wait_until(lambda: held() == 1, WITHIN)
    program.end()
    assert program.next()["result"]["structuredContent"]["status"] == "pending"
    assert held() == 0
    assert len(desk.pending()) == 1


@pytest.mark.parametrize("key", ["hitl_unknown-unknown-unknown", "reviewer"])
def test_a_key_that_may_not_ask(proxy: Callable[..., Proxy], desk: Desk, key: str) -> None:
    own = desk.http.headers["Authorization"].removeprefix("Bearer ")
    program = proxy(SAGAHOLD_API_KEY=own if key == "reviewer" else key)
    for request in (rpc("server/discover"), call(VERSIONS[0], 7)):
        refused = program.ask(request)
        assert refused["id"] == 7
        assert ("FORBIDDEN" if key == "reviewer" else "UNAUTHENTICATED") in refused["error"]["message"]
    assert desk.all() == []


def test_without_a_server_each_call_says_not_to_execute(proxy: Callable[..., Proxy], closed_port: int) -> None:
    program = proxy(SAGAHOLD_URL=f"http://127.0.0.1:{closed_port}")
    result = program.ask(call(VERSIONS[0], 3))["result"]
    assert result["isError"] is True
    assert "Do not execute the action" in result["content"][0]["text"]
    assert program.ask(rpc("tools/list"))["error"]["code"] == -32603
    program.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    program.end()


class _Other(BaseHTTPRequestHandler):
    """A server that is none of ours, or a proxy before ours: the body tells what it answers."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind, body = ANSWERS[self.path.removesuffix("/mcp")]
        self.send_response(502 if "html" in kind else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


ANSWERS = {
    "/page": ("text/html", b"<html>Bad gateway</html>"),
    "/empty": ("text/plain", b""),
    "/no-json": ("application/json", b"approved"),
    "/no-text": ("application/json", b"\xff\xfe"),
    "/no-message": ("application/json", b'{"approved": true}'),
    "/no-answer": ("text/event-stream", b": waiting\n\n"),
    "/half": ("text/event-stream", b'data: {"jsonrpc": "2.0", "id": 3, "resu'),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_that_is_none_says_not_to_execute(proxy: Callable[..., Proxy], path: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        program = proxy(SAGAHOLD_URL=f"http://127.0.0.1:{server.server_port}{path}")
        answer = program.ask(call(VERSIONS[0], 3))
        server.shutdown()
    assert (answer["id"], answer["result"]["isError"]) == (3, True)
    assert "Do not execute the action" in answer["result"]["content"][0]["text"]


def test_without_a_url_it_says_so() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAGAHOLD")}
    ended = subprocess.run(
        [SAGAHOLD, "mcp", "--data-dir", "/nonexistent"], env=environ, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "SAGAHOLD_URL" in ended.stderr
