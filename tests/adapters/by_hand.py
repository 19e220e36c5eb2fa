"""An MCP server over streamable HTTP whose answers a test gives, byte by byte."""

import json
from collections.abc import Callable
from typing import Any

from domain.manifests.definition import ToolSource, Transport
from tests.adapters.receiver import Exchange, Receiver, Request

Answer = Callable[[Exchange, Any], None]
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "by hand", "version": "1"},
}
PAY = {"name": "pay", "inputSchema": {"type": "object"}}
PAID = {"content": [{"type": "text", "text": '{"paid": true}'}]}


class ByHand:
    """Up to the calls of its tools, whose answers are given. An answer is given once that its request has been read.

    Attributes:
        answers: to the calls, in their order.
        others: to requests of other methods, instead of what a good server answers; these stay.
    """

    def __init__(self, *tools: Any) -> None:
        self.tools = tools or (PAY,)
        self.answers: list[Answer] = []
        self.others: dict[str, Answer] = {}
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
        self.sessions += message.get("method") == "initialize"
        if (other := self.others.get(message.get("method"))) is not None:
            return other(exchange, message)
        match message.get("method"):
            case "initialize":
                result(exchange, message, INITIALIZED, mcp_session_id=f"s{self.sessions}")
            case "tools/list":
                result(exchange, message, {"tools": self.tools})
            case "tools/call":
                self.answers.pop(0)(exchange, message)
            case None:
                exchange.reply(405, connection="close")
            case _:
                exchange.reply(202, connection="close")
        return None


class SseByHand(ByHand):
    """The same over SSE: answers come on a stream of their own."""

    @property
    def source(self) -> ToolSource:
        return ToolSource("by hand", Transport.SSE, url=self.receiver.url_as("127.0.0.1", "/sse"))

    def _script(self, exchange: Exchange) -> None:
        request = exchange.read()
        if not request.body:
            exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            exchange.send(b"event: endpoint\ndata: /messages\n\n")
            self._stream = exchange
            return exchange.hold()
        message = json.loads(request.body)
        known = {"initialize": INITIALIZED, "tools/list": {"tools": self.tools}}
        if message["method"] == "tools/call":
            return self.answers.pop(0)(exchange, message)
        exchange.reply(202, connection="close")
        if message["method"] in known:
            self.say({"jsonrpc": "2.0", "id": message["id"], "result": known[message["method"]]})
        return None

    def say(self, message: Any) -> None:
        self._stream.send(b"data: " + json.dumps(message).encode() + b"\n\n")


def result(exchange: Exchange, message: Any, value: Any, **headers: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}).encode()
    exchange.reply(200, body, content_type="application/json", connection="close", **headers)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda exchange, message: exchange.reply(code, body, connection="close", **headers)


def raw(data: bytes) -> Answer:
    return lambda exchange, message: exchange.send(data)


def paid(exchange: Exchange, message: Any) -> None:
    result(exchange, message, PAID)


def error(code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()
