"""`sagahold mcp`: the server's MCP endpoint over stdin and stdout, for clients that start a program.

It passes messages on and keeps nothing. The server's protocol without sessions and the older one with them both work.
"""

import base64
import json
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import click
import httpx

from cli.client import Server, ServerUnreachable, open_server
from cli.session import server_options
from domain.identity.access import Role

PATH = "/mcp"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
SESSION = "Mcp-Session-Id"
# The server's signs of life are 10 s apart, and a wait without them takes 50 s. Seconds.
ANSWER_WITHIN = 75.0
# Seconds for the last answers after the client has closed stdin.
LAST_ANSWERS = 5.0
PARSE_ERROR, INTERNAL_ERROR = -32700, -32603
# The parameters that the header `Mcp-Name` repeats.
_NAMED = ("name", "taskId")


@click.command("mcp")
def mcp(url: str | None, data_dir: Path) -> None:
    """Serve agents over MCP on stdin and stdout (set SAGAHOLD_URL and SAGAHOLD_API_KEY)."""
    with open_server(url, data_dir, decides=True) as server:
        Proxy(server, sys.stdout.buffer).run(sys.stdin.buffer)


mcp.params.extend(option for option in server_options() if option.name != "as_json")


class Proxy:
    """The messages of one client. Each request has a thread, because it may wait for a person."""

    def __init__(self, server: Server, output: BinaryIO) -> None:
        self._server = server
        self._output = output
        self._lock = threading.Lock()
        self._session = secrets.token_hex(16)
        self._version: str | None = None
        self._threads: dict[Any, threading.Thread] = {}
        self._cancelled: set[threading.Thread] = set()

    def run(self, lines: BinaryIO) -> None:
        """Pass on each line until the client closes the stream."""
        for line in lines:
            if line.strip():
                self._take(line)
        waiting, until = dict(self._threads), time.monotonic() + LAST_ANSWERS
        for id_ in waiting:
            self._end_wait(id_)
        for thread in waiting.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._write(_error(None, PARSE_ERROR, "a line must be one JSON-RPC message"))
            return
        id_ = _id_of(message)
        if id_ is None:
            self._notify(message, line)
            return
        thread = threading.Thread(target=self._answer, args=(id_, message, line), daemon=True)
        self._threads[id_] = thread
        thread.start()

    def _notify(self, message: Any, line: bytes) -> None:
        """Pass on a message without an id, in its order. Only an invalid one gets a response."""
        if isinstance(message, dict) and message.get("method") == "notifications/cancelled":
            params = message.get("params")
            id_ = params.get("requestId") if isinstance(params, dict) else None
            thread = self._threads.get(id_) if isinstance(id_, str | int) else None
            if thread is not None:
                self._cancelled.add(thread)
                self._end_wait(id_)
            return
        try:
            for answer in self._exchange(message, line):
                self._write(answer)
        except ServerUnreachable as error:
            click.echo(f"sagahold mcp: {error.format_message()}", err=True)

    def _end_wait(self, id_: Any) -> None:
        """Tell the server that the client no longer waits. The request for a decision stays open."""
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}

        def send() -> None:
            try:
                list(self._exchange(cancel, json.dumps(cancel).encode()))
            except ServerUnreachable as error:
                click.echo(f"sagahold mcp: {error.format_message()}", err=True)

        threading.Thread(target=send, daemon=True).start()

    def _answer(self, id_: str | int, message: dict[str, Any], line: bytes) -> None:
        own = threading.current_thread()
        try:
            for answer in self._exchange(message, line):
                if own not in self._cancelled:
                    self._write(answer)
        except ServerUnreachable as error:
            if own not in self._cancelled:
                self._write(_unreachable(id_, message, error.format_message()))
        finally:
            self._threads.pop(id_, None)
            self._cancelled.discard(own)

    def _exchange(self, message: Any, line: bytes) -> Iterator[dict[str, Any]]:
        """Yield the server's messages in response to this one. Raises `ServerUnreachable`."""
        answered = not isinstance(message, dict) or "id" not in message
        with self._server.open_stream(Role.AGENT, PATH, line, self._headers(message), ANSWER_WITHIN) as response:
            for answer in _messages(response):
                if isinstance(message, dict) and message.get("method") == "initialize":
                    self._agreed(answer, response.headers)
                if "id" in answer:
                    answered = True
                    # The server does not know the id of a request that it refuses before it reads it.
                    answer["id"] = _id_of(message)
                yield answer
        if not answered:
            raise ServerUnreachable(f"{self._server.url} ended the call without an answer ({response.status_code})")

    def _headers(self, message: Any) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            SESSION: self._session,
        }
        version, params = self._version, message.get("params") if isinstance(message, dict) else None
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and isinstance(meta.get(VERSION_KEY), str):
            version = meta[VERSION_KEY]
            headers["Mcp-Method"] = _header(str(message.get("method")))
            names = [params[name] for name in _NAMED if isinstance(params.get(name), str)]
            if names:
                headers["Mcp-Name"] = _header(names[0])
        if version is not None:
            headers["MCP-Protocol-Version"] = _header(version)
        return headers

    def _agreed(self, answer: dict[str, Any], headers: Mapping[str, str]) -> None:
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(result.get("protocolVersion"), str):
            self._version = result["protocolVersion"]
            self._session = headers.get(SESSION, self._session)

    def _write(self, message: dict[str, Any]) -> None:
        # ASCII, so that no reader takes a character for the end of the line.
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        # A client that has gone reads nothing more. Its end of stdin ends the program.
        with self._lock, suppress(BrokenPipeError):
            self._output.write(line)
            self._output.flush()


def _id_of(message: Any) -> str | int | None:
    id_ = message.get("id") if isinstance(message, dict) else None
    # True is an integer in Python, and no id.
    return id_ if isinstance(id_, str | int) and not isinstance(id_, bool) else None


def _messages(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the JSON-RPC messages of a response, as a whole or as a stream."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind == "text/event-stream":
        texts: Iterator[str | bytes] = (line[5:] for line in response.iter_lines() if line.startswith("data:"))
    elif kind == "application/json":
        texts = iter([response.read()])
    elif response.is_success and not response.read():
        return
    else:
        raise ServerUnreachable(f"the server answered {response.status_code} {response.reason_phrase}: check the URL")
    for text in texts:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            raise ServerUnreachable("the server does not answer as a Sagahold server: check the URL")
        yield message


def _unreachable(id_: Any, message: dict[str, Any], why: str) -> dict[str, Any]:
    if message.get("method") != "tools/call":
        return _error(id_, INTERNAL_ERROR, why)
    # A result, because some clients hide errors from the model.
    text = f"UNREACHABLE: {why}. Do not execute the action. Call the tool again later, with the same idempotency_key."
    result = {"content": [{"type": "text", "text": text}], "isError": True, "resultType": "complete"}
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def _error(id_: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}}


def _header(value: str) -> str:
    """Return the text as a header, encoded if it is more than printable ASCII."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'replace')).decode()}?="
