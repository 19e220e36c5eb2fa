"""What becomes of a call when HTTP itself goes wrong: refused for certain, or unknown."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters.mcp import Lost, NotSent, TimedOut, ToolClient, ToolFailed, Unavailable
from domain.definition import ToolSource, Transport
from tests.adapters.receiver import Exchange, Receiver, Request

Answer = Callable[[Exchange, Any], None]
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "by hand", "version": "1"},
}
TOOLS = {"tools": [{"name": "pay", "inputSchema": {"type": "object"}}]}


class ByHand:
    """An MCP server over streamable HTTP, up to the call of its one tool, whose answers a test gives."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.sessions = 0
        self.receiver = Receiver(self._script)

    @property
    def source(self) -> ToolSource:
        return ToolSource("by hand", Transport.STREAMABLE_HTTP, url=self.receiver.url_as("127.0.0.1", "/mcp"))

    @property
    def calls(self) -> list[Any]:
        """The ids of the calls that came."""
        bodies = [json.loads(request.body) for request in self.receiver.requests if request.body]
        return [body["id"] for body in bodies if body["method"] == "tools/call"]

    def request_of(self, method: str) -> Request:
        return next(request for request in self.receiver.requests if f'"{method}"'.encode() in request.body)

    def _script(self, exchange: Exchange) -> None:
        request = exchange.read()
        message = json.loads(request.body) if request.body else {}
        match message.get("method"):
            case "initialize":
                self.sessions += 1
                result(exchange, message, INITIALIZED, mcp_session_id=f"s{self.sessions}")
            case "tools/list":
                result(exchange, message, TOOLS)
            case "tools/call":
                self.answers.pop(0)(exchange, message)
            case None:
                exchange.reply(405, connection="close")
            case _:
                exchange.reply(202, connection="close")


def result(exchange: Exchange, message: Any, value: Any, **headers: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}).encode()
    exchange.reply(200, body, content_type="application/json", connection="close", **headers)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda exchange, message: exchange.reply(code, body, connection="close", **headers)


def raw(data: bytes) -> Answer:
    return lambda exchange, message: exchange.send(data)


def paid(exchange: Exchange, message: Any) -> None:
    result(exchange, message, {"content": [{"type": "text", "text": "paid"}]})


def error(code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()


@pytest.fixture
def server() -> Iterator[ByHand]:
    server = ByHand()
    yield server
    server.receiver.close()


@pytest.fixture
def client() -> Iterator[ToolClient]:
    client = ToolClient()
    yield client
    client.close()


def pay(client: ToolClient, server: ByHand, timeout: float = 30) -> Any:
    return client.call(server.source, "pay", {}, meta={}, idempotency_key="k", timeout=timeout).data


JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        status(500, b"oops"),
        status(502),
        status(503),
        status(504),
        status(202),
        status(200, b"<html>hello</html>", content_type="text/html"),
        status(200, b"{not json", content_type="application/json"),
        status(200, b"[1]", content_type="application/json"),
        status(200, b'{"jsonrpc": "2.0", "id": 999, "result": {}}', content_type="application/json"),
        status(200, b"\x1f\x8b", content_type="application/json", content_encoding="gzip"),
        status(200, error(-32000, "Connection closed"), content_type="application/json"),
        raw(b""),
        raw(b"garbage\r\n\r\n"),
        raw(JSON + b"content-length: 100\r\n\r\n{"),
        raw(EVENTS),
        raw(EVENTS + b"data: {garbage\n\n"),
        raw(EVENTS + b'data: {"jsonrpc": "2.0", "id": '),
        raw(EVENTS + b"data: " + b"x" * 2_000_000 + b"\n\n"),
        raw(JSON + b"\r\n" + b"x" * 2_000_000),
    ],
)
def test_it_may_have_been_done(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    with pytest.raises(Lost):
        pay(client, server)
    assert len(server.calls) == 1
    assert pay(client, server) == {"text": "paid"}


@pytest.mark.parametrize(
    "answer",
    [
        status(401),
        status(403),
        status(405),
        status(413),
        status(429),
        status(301, location="/elsewhere"),
        status(302, location="/elsewhere"),
        status(307, location="http://127.0.0.1:9/mcp"),
        status(308, location="http://user:password@127.0.0.1/mcp"),
    ],
)
def test_it_was_certainly_not_done(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    with pytest.raises(NotSent) as raised:
        pay(client, server)
    assert isinstance(raised.value, Unavailable)
    assert len(server.calls) == 1
    assert pay(client, server) == {"text": "paid"}


@pytest.mark.parametrize(
    "answer",
    [
        status(404),
        status(404, error(-32600, "Session not found"), content_type="application/json"),
        status(400, error(-32000, "Bad Request: No valid session ID provided"), content_type="application/json"),
    ],
)
def test_a_forgotten_session_is_opened_anew(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    assert pay(client, server) == {"text": "paid"}
    assert server.sessions == 2
    server.answers = [answer, answer]
    with pytest.raises(Unavailable):
        pay(client, server)


@pytest.mark.parametrize("code", [200, 400, 500])
def test_an_error_that_the_server_answers(client: ToolClient, server: ByHand, code: int):
    server.answers = [status(code, error(-32602, "amount is missing"), content_type="application/json")]
    with pytest.raises(ToolFailed, match="amount is missing"):
        pay(client, server)


def test_a_redirect_within_the_server_is_followed(client: ToolClient, server: ByHand):
    server.answers = [status(307, location="/mcp/"), paid]
    assert pay(client, server) == {"text": "paid"}
    server.answers = [status(307, location="/mcp/")] * 10
    with pytest.raises(Unavailable, match="redirects"):
        pay(client, server)


def test_an_answer_that_drips_ends_at_the_deadline(client: ToolClient, server: ByHand):
    server.answers = [lambda exchange, message: (exchange.send(EVENTS), exchange.drip(b": \n" * 1000))]
    with pytest.raises(TimedOut):
        pay(client, server, timeout=1)


def test_headers_from_the_environment(client: ToolClient, server: ByHand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEDGER_TOKEN", "t-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers = [paid]
    source = ToolSource(
        "by hand", Transport.STREAMABLE_HTTP, server.source.url, headers={"Authorization": "Bearer ${ENV:LEDGER_TOKEN}"}
    )
    client.call(source, "pay", {}, meta={}, idempotency_key="k", timeout=30)
    seen = server.request_of("tools/call").headers
    assert seen["authorization"] == "Bearer t-1"
    assert seen["accept-encoding"] == "identity"
    assert seen["mcp-session-id"] == "s1"
