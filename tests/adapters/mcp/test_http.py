"""The outcome of a call when HTTP itself goes wrong: refused for certain, or unknown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.mcp import ToolClient
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.outcome import Failed
from tests.adapters.by_hand import Answer, ByHand, SseByHand, error, paid, raw, result, status
from tests.adapters.odd_server import odd_servers
from tests.adapters.outcomes import (
    BAD_OUTPUT,
    LEASE_LOST,
    LOST,
    TIMED_OUT,
    TOOL_FAILED,
    TOOL_NOT_FOUND,
    UNAVAILABLE,
    data_of,
    ends,
)
from tests.adapters.receiver import Exchange


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
    return data_of(client.call((server.source,), "pay", {}, meta={}, idempotency_key="k", timeout=timeout))


JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        *[
            status(code, b"oops")
            for code in (303, 400, 401, 403, 405, 409, 410, 413, 418, 422, 429, 500, 502, 503, 504)
        ],
        *[status(code, error(-32602, "no"), content_type="application/json") for code in (403, 422, 429, 500, 504)],
        *[status(200, error(code, "no"), content_type="application/json") for code in (-32603, -32000, -32001, 0, 7)],
        *[status(400, error(code, "no"), content_type="application/json") for code in (-32603, -32000)],
        # The Python SDK's servers also say so of what a tool has got after it acted.
        status(200, error(-32602, "Invalid request parameters"), content_type="application/json"),
        status(200, b'{"jsonrpc": "2.0", "id": null, "error": "timeout"}', content_type="application/json"),
        status(202),
        status(200, b"<html>hello</html>", content_type="text/html"),
        status(200, b"{not json", content_type="application/json"),
        status(200, b"[1]", content_type="application/json"),
        status(200, b'{"jsonrpc": "2.0", "id": 999, "result": {}}', content_type="application/json"),
        status(200, b"\x1f\x8b", content_type="application/json", content_encoding="gzip"),
        raw(b""),
        raw(b"garbage\r\n\r\n"),
        raw(JSON + b"content-length: 100\r\n\r\n{"),
        raw(EVENTS),
        raw(EVENTS + b"data: {garbage\n\n"),
        raw(EVENTS + b'data: {"jsonrpc": "2.0", "id": 999, "result": {}}\n\n'),
        raw(EVENTS + b'data: {"jsonrpc": "2.0", "id": '),
        raw(EVENTS + b"data: " + b"x" * 2_000_000 + b"\n\n"),
        raw(JSON + b"\r\n" + b"x" * 2_000_000),
    ],
)
def test_it_may_have_been_done(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    with ends(LOST):
        pay(client, server)
    assert len(server.calls) == 1
    assert pay(client, server) == {"paid": True}


@pytest.mark.parametrize(
    "answer",
    [
        status(301, location="/elsewhere"),
        status(302, location="/elsewhere"),
        status(307, location="http://127.0.0.1:9/mcp"),
        status(308, location="http://user:password@127.0.0.1/mcp"),
    ],
)
def test_it_was_certainly_not_done(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    with ends(UNAVAILABLE) as raised:
        pay(client, server)
    assert isinstance(raised.value.outcome, Failed)
    assert len(server.calls) == 1
    assert pay(client, server) == {"paid": True}


def test_what_was_answered_instead_is_kept(client: ToolClient, server: ByHand):
    server.answers = [status(422, b"refused by the gateway"), status(200, b"<html>" + b"x" * 10_000)]
    for beginning in ("refused by the gateway", "<html>xxx"):
        with ends(LOST) as raised:
            pay(client, server)
        assert raised.value.outcome.answer is not None
        assert raised.value.outcome.answer.startswith(beginning)
        assert len(raised.value.outcome.answer) <= 2001


@pytest.mark.parametrize("code", [400, 401, 403, 422, 429, 500, 503])
def test_a_refused_request_ends_the_session(client: ToolClient, server: ByHand, code: int):
    server.answers = [status(code), paid, paid]
    with ends(LOST):
        pay(client, server)
    assert pay(client, server) == {"paid": True}
    assert pay(client, server) == {"paid": True}
    assert server.sessions == 2


FORGOTTEN = [
    status(404),
    status(404, error(-32600, "Session not found"), content_type="application/json"),
    status(400, error(-32000, "Bad Request: No valid session ID provided"), content_type="application/json"),
]


@pytest.mark.parametrize("answer", FORGOTTEN)
def test_a_forgotten_session_is_opened_anew_once(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer, paid]
    assert pay(client, server) == {"paid": True}
    assert server.sessions == 2
    server.answers = [answer, answer, paid]
    with ends(LOST):
        pay(client, server)
    assert len(server.answers) == 1


@pytest.mark.parametrize("answer", FORGOTTEN)
def test_a_session_that_is_still_known_was_not_forgotten(client: ToolClient, server: ByHand, answer: Answer):
    """The tool acts, and something after it answers 404."""
    server.others["ping"] = lambda exchange, message: result(exchange, message, {})
    server.answers = [answer, paid]
    with ends(LOST, match="still knows the session"):
        pay(client, server)
    assert len(server.calls) == 1


def test_a_forgotten_session_that_cannot_be_opened_anew(client: ToolClient, server: ByHand):
    server.answers = [paid, status(404)]
    pay(client, server)
    server.others["initialize"] = status(503)
    with ends(LOST, match="503"):
        pay(client, server)


def test_a_session_that_was_forgotten_before_the_call_is_not_its_repeat(client: ToolClient, server: ByHand):
    """Not to list its tools is no call."""
    listed = []

    def refuse_once(exchange: Exchange, message: Any) -> None:
        listed.append(message)
        if len(listed) == 1:
            return exchange.reply(404, connection="close")
        return result(exchange, message, {"tools": server.tools})

    server.others["tools/list"] = refuse_once
    server.answers = [status(404), paid]
    assert pay(client, server) == {"paid": True}
    assert server.sessions == 3


@pytest.mark.parametrize("code", [200, 400])
def test_an_error_that_the_server_answers(client: ToolClient, server: ByHand, code: int):
    server.answers = [status(code, error(-32602, "amount is missing"), content_type="application/json")]
    with ends(TOOL_FAILED, match="amount is missing"):
        pay(client, server)
    server.answers = [status(code, error(-32601, "no such method"), content_type="application/json")]
    with ends(TOOL_NOT_FOUND, match="no such method"):
        pay(client, server)


def test_an_error_that_follows_the_act(client: ToolClient, server: ByHand):
    """The TypeScript SDK's servers look at a tool's answer after it has run."""
    text = "MCP error -32602: Tool pay has an output schema but no structured content was provided"
    server.answers = [status(200, error(-32602, text), content_type="application/json")]
    with ends(BAD_OUTPUT, match="was executed"):
        pay(client, server)


def test_the_lease_is_checked_right_before_each_write_of_the_call(client: ToolClient, server: ByHand):
    server.answers = [paid]
    pay(client, server)
    # Its session is forgotten, and the step is another's by the time that there is a new one.
    server.answers = [status(404), paid]
    asked = []

    def ours() -> bool:
        asked.append(server.sessions)
        return server.sessions == 1

    with ends(LOST, match="lost the saga"):
        data_of(client.call((server.source,), "pay", {}, meta={}, idempotency_key="k", timeout=30, ours=ours))
    assert asked[-1] == 2
    assert len(server.calls) == 2


@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
def test_no_call_is_written_without_the_lease(client: ToolClient, transport: str, tmp_path: Path):
    with odd_servers(transport, tmp_path) as odd:
        sessions_when_asked: list[int] = []

        def ours() -> bool:
            sessions_when_asked.append(odd.started())
            return False

        with ends(LEASE_LOST):
            data_of(client.call((odd.source,), "crash", {}, meta={}, idempotency_key="k", timeout=30, ours=ours))
        # Not before the session was open: to open one may take long.
        assert sessions_when_asked == [1]
        assert data_of(client.call((odd.source,), "echo", {"value": 1}, meta={}, idempotency_key="k", timeout=30))
        assert odd.called() == []


def test_a_refused_request_over_sse(client: ToolClient):
    server = SseByHand()

    def answered(exchange: Exchange, message: Any) -> None:
        exchange.reply(202, connection="close")
        server.say({"jsonrpc": "2.0", "id": str(message["id"]), "result": {"structuredContent": [1]}})

    domain_errors = [
        status(422),
        status(400, error(-32602, "no"), content_type="application/json"),
        status(404, error(-32601, "no"), content_type="application/json"),
    ]
    server.answers = [*domain_errors, answered]
    try:
        for _ in domain_errors:
            with ends(LOST, match="HTTP 4"):
                pay(client, server)
        assert pay(client, server) == [1]
    finally:
        server.receiver.close()


def test_a_redirect_within_the_server_is_followed(client: ToolClient, server: ByHand):
    server.answers = [status(307, location="/mcp/"), paid]
    assert pay(client, server) == {"paid": True}
    server.answers = [status(307, location="/mcp/")] * 10
    with ends(UNAVAILABLE, match="redirects"):
        pay(client, server)


def test_an_answer_that_drips_ends_at_the_deadline(client: ToolClient, server: ByHand):
    server.answers = [lambda exchange, message: (exchange.send(EVENTS), exchange.drip(b": \n" * 1000))]
    with ends(TIMED_OUT):
        pay(client, server, timeout=1)


def test_headers_from_the_environment(client: ToolClient, server: ByHand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEDGER_TOKEN", "t-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers = [paid]
    source = ToolSource(
        "by hand", Transport.STREAMABLE_HTTP, server.source.url, headers={"Authorization": "Bearer ${ENV:LEDGER_TOKEN}"}
    )
    data_of(client.call((source,), "pay", {}, meta={}, idempotency_key="k", timeout=30))
    seen = server.request_of("tools/call").headers
    assert seen["authorization"] == "Bearer t-1"
    assert seen["accept-encoding"] == "identity"
    assert seen["mcp-session-id"] == "s1"
