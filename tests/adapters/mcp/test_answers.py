"""The meaning of a tool's answer, however a server writes it: done, failed, or unknown."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.mcp import ToolClient
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.outcome import Failed, NotSent
from tests.adapters.by_hand import PAY, Answer, ByHand, paid, raw, result, status
from tests.adapters.outcomes import BAD_OUTPUT, LOST, TOOL_FAILED, TOOL_NOT_FOUND, UNAVAILABLE, data_of, ends
from tests.adapters.receiver import Exchange

SUM = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@pytest.fixture
def server() -> Iterator[ByHand]:
    server = ByHand(PAY, {**PAY, "name": "add", "outputSchema": SUM})
    yield server
    server.receiver.close()


@pytest.fixture
def client() -> Iterator[ToolClient]:
    client = ToolClient()
    yield client
    client.close()


def call(client: ToolClient, server: ByHand, tool: str = "pay") -> Any:
    return data_of(client.call((server.source,), tool, {}, meta={}, idempotency_key="k", timeout=30))


def says(value: Any) -> Answer:
    return lambda exchange, message: result(exchange, message, value)


def rpc(**fields: Any) -> Answer:
    """A JSON-RPC message, with the request's id unless it is given."""

    def answer(exchange: Exchange, message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **fields}).encode()
        exchange.reply(200, body, content_type="application/json", connection="close")

    return answer


def text(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


LINK = {"type": "resource_link", "uri": "https://example.com/big.csv", "name": "big.csv"}
NOTE = {"type": "resource", "resource": {"uri": "note://1", "mimeType": "text/plain", "text": "the whole note"}}
IMAGE = {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}
BLOB = {"type": "resource", "resource": {"uri": "f://1", "blob": "iVBORw0KGgo="}}
DIGEST = {"sha256": "4c4b6a3be1314ab86138bef4314dde022e600960d8689a2c8f8631802d20dab6", "size": 8}


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"content": [], "structuredContent": [1, 2]}, [1, 2]),
        ({"structuredContent": "done"}, "done"),
        ({"structuredContent": 0}, 0),
        ({"structuredContent": False, "isError": None}, False),
        ({"structuredContent": None}, None),
        ({"content": text('{"a": 1}'), "isError": None}, {"a": 1}),
        ({"content": text("null")}, None),
        ({"content": text('"x"')}, "x"),
        ({"content": text("{}"), "structuredContent": None}, {}),
        ({"content": text("paid"), "structuredContent": {"ok": True}}, {"ok": True}),
        ({}, {"text": "", "content": []}),
        ({"content": None}, {"text": "", "content": []}),
        ({"content": []}, {"text": "", "content": []}),
        ({"content": "paid"}, {"text": "paid", "content": text("paid")}),
        ({"content": text("paid")}, {"text": "paid", "content": text("paid")}),
        ({"content": text("1", "2")}, {"text": "1\n2", "content": text("1", "2")}),
        ({"content": [*text("got it"), NOTE]}, {"text": "got it", "content": [*text("got it"), NOTE]}),
        ({"content": [LINK]}, {"text": "", "content": [LINK]}),
        ({"content": [{"type": "of tomorrow", "x": 1}]}, {"text": "", "content": [{"type": "of tomorrow", "x": 1}]}),
        ({"content": [IMAGE]}, {"text": "", "content": [{"type": "image", "mimeType": "image/png", **DIGEST}]}),
        (
            {"content": [BLOB]},
            {"text": "", "content": [{"type": "resource", "resource": {"uri": "f://1", **DIGEST}}]},
        ),
    ],
)
def test_a_result_is_read(client: ToolClient, server: ByHand, value: Any, data: Any):
    server.answers = [says(value)]
    found = call(client, server)
    assert (found, type(found)) == (data, type(data))


@pytest.mark.parametrize("value", [None, [1], "done", 7, True])
def test_a_result_that_is_no_object_is_one(client: ToolClient, server: ByHand, value: Any):
    server.answers = [rpc(result=value)]
    assert call(client, server) == value


def test_an_answer_is_known_by_its_id_however_it_is_written(client: ToolClient, server: ByHand):
    def as_text(exchange: Exchange, message: Any) -> None:
        rpc(id=str(message["id"]), result={"structuredContent": 1})(exchange, message)

    def as_float(exchange: Exchange, message: Any) -> None:
        rpc(id=float(message["id"]), result={"structuredContent": 2})(exchange, message)

    def without_version(exchange: Exchange, message: Any) -> None:
        body = json.dumps({"id": message["id"], "error": None, "result": {"structuredContent": 3}}).encode()
        exchange.reply(200, body, content_type="text/plain", connection="close")

    def batch(exchange: Exchange, message: Any) -> None:
        body = json.dumps([{"jsonrpc": "2.0", "id": message["id"], "result": {"structuredContent": 4}}]).encode()
        exchange.reply(200, body, content_type="application/json", connection="close")

    def event(exchange: Exchange, message: Any) -> None:
        noise = b"event: message\ndata: starting\n\ndata: \n\n: ping\n\n"
        body = json.dumps({"jsonrpc": "2.0", "id": str(message["id"]), "result": {"structuredContent": [5]}}, indent=1)
        lines = "".join(f"data: {line}\r\n" for line in body.splitlines())
        exchange.send(EVENTS + noise + f"event: message\r\n{lines}\r\n".encode())

    server.answers = [as_text, as_float, without_version, batch, event]
    assert [call(client, server) for _ in range(5)] == [1, 2, 3, 4, [5]]


@pytest.mark.parametrize(
    "answer",
    [
        says({"isError": "maybe", "content": text("done")}),
        says({"isError": 1, "content": text("done")}),
        says({"status": "ok"}),
        says({"resultType": "input_required", "inputRequests": {}}),
        rpc(result={"content": []}, error={"code": -32602, "message": "no"}),
        rpc(error={"code": "E1", "message": "no"}),
        rpc(error="no"),
        rpc(method="tools/call"),
    ],
)
def test_an_answer_that_is_not_clear_is_unknown_and_kept(client: ToolClient, server: ByHand, answer: Answer):
    server.answers = [answer]
    with ends(LOST) as raised:
        call(client, server)
    assert raised.value.outcome.answer


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"content": text("no money")}, "no money"),
        ({"content": [NOTE]}, "the whole note"),
        ({"content": [], "structuredContent": {"reason": "no money"}}, '{"reason":"no money"}'),
        ({"structuredContent": ["no money"]}, '["no money"]'),
        ({"content": [LINK]}, "big.csv"),
        ({}, "failed without a word"),
    ],
)
def test_the_reason_of_a_failure(client: ToolClient, server: ByHand, value: Any, words: str):
    server.answers = [says({**value, "isError": True})]
    with ends(TOOL_FAILED) as raised:
        call(client, server)
    assert words in str(raised.value)


def test_structured_content_is_held_to_the_tools_schema(client: ToolClient, server: ByHand):
    server.answers = [
        says({"structuredContent": {"sum": 3}}),
        says({"structuredContent": {"sum": "three"}}),
        says({"isError": True, "structuredContent": {"why": "no"}}),
        says({"isError": True, "content": text("Output validation error: 'sum' is a required property")}),
    ]
    assert call(client, server, "add") == {"sum": 3}
    # It has done its work all the same.
    with ends(BAD_OUTPUT, match=r"was executed, .* does not fit its outputSchema: structuredContent\.sum"):
        call(client, server, "add")
    with ends(TOOL_FAILED):
        call(client, server, "add")
    with ends(BAD_OUTPUT, match="was executed: Output validation error"):
        call(client, server, "add")


def test_an_odd_tool_is_left_out_of_its_list_and_named(client: ToolClient):
    odd = {"name": "odd", "inputSchema": "an object, I think"}
    server = ByHand(odd, "nothing", {"inputSchema": {"type": "object"}}, PAY)
    server.answers = [paid]
    try:
        assert [tool.name for tool in client.loop.submit(client.tools(server.source)).result(30)] == ["pay"]
        assert call(client, server) == {"paid": True}
        with ends(TOOL_NOT_FOUND, match=r"by hand lists it, but it cannot be used: inputSchema: "):
            call(client, server, "odd")
        assert "by hand lists it, but it cannot be used: inputSchema: " in client.missing([server.source], "odd")
        assert client.missing([server.source], "other") == "none of by hand has a tool 'other'"
    finally:
        server.receiver.close()


def modern(server: ByHand) -> None:
    """It speaks the protocol that has no handshake."""
    common = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **common}
    server.others["server/discover"] = says({**found, "serverInfo": {"name": "by hand", "version": "1"}})
    server.others["tools/list"] = says({"tools": [PAY], **common})
    server.answers = [says({"content": text("paid"), "resultType": "complete"})]


INITIALIZED = {"capabilities": {"tools": {}}, "serverInfo": {"name": "by hand", "version": "1"}}


@pytest.mark.parametrize(
    "refusal",
    [
        says({"protocolVersion": "2026-07-28", **INITIALIZED}),
        rpc(error={"code": -32601, "message": "no initialize"}),
        status(400, b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32022, "message": "too old"}}'),
    ],
)
def test_a_server_of_the_newer_protocol_only(client: ToolClient, server: ByHand, refusal: Answer):
    modern(server)
    server.others["initialize"] = refusal
    assert call(client, server)["text"] == "paid"
    assert server.request_of("tools/call").headers["mcp-protocol-version"] == "2026-07-28"


@pytest.mark.parametrize(
    ("method", "answer", "why"),
    [
        ("initialize", says({"protocolVersion": "2031-01-01", **INITIALIZED}), "2031-01-01"),
        ("initialize", status(401), "HTTP 401: look at the credentials"),
        ("initialize", status(403, b'{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "who?"}}'), "who?"),
        ("tools/list", status(401), "HTTP 401"),
    ],
)
def test_a_permanent_failure_says_so(client: ToolClient, server: ByHand, method: str, answer: Answer, why: str):
    server.others[method] = answer
    server.others["server/discover"] = status(404)
    with ends(UNAVAILABLE) as raised:
        call(client, server)
    assert isinstance(raised.value.outcome, Failed)
    assert why in str(raised.value)


@pytest.mark.parametrize("answer", [status(503), status(404), raw(b"")])
def test_a_temporary_failure(client: ToolClient, server: ByHand, answer: Answer):
    server.others["initialize"] = answer
    with ends(UNAVAILABLE) as raised:
        call(client, server)
    assert isinstance(raised.value.outcome, NotSent)


def test_a_server_that_dies_behind_http_has_no_stderr(client: ToolClient, server: ByHand):
    server.answers = [raw(EVENTS)]
    with ends(LOST) as raised:
        call(client, server)
    assert "stderr" not in str(raised.value)
    mute = ToolSource("mute", Transport.STDIO, command="true")
    with ends(UNAVAILABLE, match="stderr"):
        data_of(client.call((mute,), "pay", {}, meta={}, idempotency_key="k", timeout=30))
