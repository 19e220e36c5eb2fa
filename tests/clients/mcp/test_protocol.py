"""The endpoint, as a program without a client library talks to it: versions, errors, permissions and limits."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mcp_types import methods

from domain.values import json_schema
from tests.clients.desk import Desk
from tests.clients.mcp.wire import META, VERSIONS, Post, error, rpc


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (b"", 400, -32700),
        (b"[" * 100_000, 422, -32600),
        (b"[]", 400, -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32600),
        (b'"text"', 400, -32600),
        (b'{"id":1,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 400, -32602),
    ],
)
def test_a_body_that_is_no_request(post: Post, body: bytes, status: int, code: int) -> None:
    for version in VERSIONS:
        error(post(body, version), status, code)


def test_a_body_of_another_kind_or_size(post: Post) -> None:
    message = rpc("server/discover")
    error(post(message, headers={"Content-Type": "text/plain"}), 415, -32600)
    error(post(b'"' + b"x" * 1_100_000 + b'"'), 413, -32600)


def test_only_post_is_there(desk: Desk) -> None:
    for method in ("GET", "DELETE"):
        response = httpx.request(method, f"{desk.url}/mcp", headers={"Authorization": f"Bearer {desk.agent_key}"})
        assert response.status_code == 405
        assert "POST" in response.headers["Allow"]


def test_a_caller_without_the_right_key_reaches_nothing(post: Post, client_for: Callable[..., httpx.Client]) -> None:
    """Not even the body is read."""
    for key in (None, "Bearer hitl_unknown-unknown-unknown", "Bearer x"):
        response = post(b"{", headers={"Authorization": key})
        document = error(response, 401, -32600)
        assert document["id"] is None
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    reviewer = client_for("reviewer").headers["Authorization"]
    error(post(rpc("tools/list"), headers={"Authorization": reviewer}), 403, -32600)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://sagahold.evil.example"]
)
def test_a_page_of_another_site_reaches_nothing(post: Post, desk: Desk, origin: str) -> None:
    error(post(rpc("tools/list"), headers={"Origin": origin}), 403, -32600)
    assert post(rpc("tools/list"), headers={"Origin": desk.url}).status_code == 200


def test_the_newest_version_describes_itself(post: Post) -> None:
    found = post(rpc("server/discover")).json()["result"]
    assert found["supportedVersions"] == VERSIONS
    assert found["capabilities"] == {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
    assert found["resultType"] == "complete"
    listed = post(rpc("tools/list")).json()["result"]
    assert len(listed["tools"]) == 7
    error(post(rpc("initialize")), 404, -32601)
    error(post(rpc("ping")), 404, -32601)


@pytest.mark.parametrize(
    ("headers", "meta", "status", "code"),
    [
        ({"Mcp-Method": "tools/list"}, META, 400, -32020),
        ({"Mcp-Method": None}, META, 400, -32020),
        ({"Mcp-Name": "use_approval"}, META, 400, -32020),
        ({"Mcp-Name": None}, META, 400, -32020),
        ({"Mcp-Name": "=?base64?!?="}, META, 400, -32020),
        ({"MCP-Protocol-Version": None}, META, 400, -32020),
        ({"MCP-Protocol-Version": "2025-11-25"}, META, 400, -32020),
        ({}, {}, 400, -32602),
        ({}, {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, 400, -32602),
        ({}, {**META, "io.modelcontextprotocol/clientCapabilities": 1}, 400, -32602),
        ({}, None, 400, -32602),
        (
            {"MCP-Protocol-Version": "2031-01-01"},
            {**META, "io.modelcontextprotocol/protocolVersion": "2031-01-01"},
            400,
            -32022,
        ),
    ],
)
def test_a_request_of_the_newest_version_that_disagrees_with_itself(
    post: Post, desk: Desk, headers: dict[str, str | None], meta: Any, status: int, code: int
) -> None:
    message = rpc("tools/call", name="request_approval", arguments={"action": "Refund", "wait_seconds": 0})
    message["params"]["_meta"] = meta
    document = error(post(message, headers=headers), status, code)
    assert document["id"] == 7
    if code == -32022:
        assert document["error"]["data"] == {"supported": VERSIONS, "requested": "2031-01-01"}
    assert desk.all() == []


def test_a_name_may_be_encoded(post: Post) -> None:
    name = base64.b64encode(b"get_decision").decode()
    message = rpc("tools/call", name="get_decision", arguments={"watchId": "x"})
    assert post(message, headers={"Mcp-Name": f"=?base64?{name}?="}).json()["result"]["isError"] is True


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("2024-11-05", "2025-11-25"), ("x", "2025-11-25")],
)
def test_versions_with_a_session_begin_with_initialize(post: Post, desk: Desk, offered: str, agreed: str) -> None:
    client = {"name": "old\x1b client", "version": "9", "title": "ignored"}
    wanted = rpc("initialize", offered, protocolVersion=offered, capabilities={}, clientInfo=client)
    response = post(wanted, headers={"MCP-Protocol-Version": None})
    assert response.json()["result"]["protocolVersion"] == agreed
    session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
    begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert post(begun, agreed, session).status_code == 202
    assert post(rpc("ping", agreed), agreed, session).json()["result"] == {}
    call = rpc("tools/call", agreed, name="request_approval", arguments={"action": "Refund", "wait_seconds": 0})
    assert post(call, agreed, session).json()["result"]["structuredContent"]["status"] == "pending"
    (pause,) = desk.all()
    assert pause["metadata"]["client"] == {"name": "old client", "version": "9", "tool": "request_approval"}
    for method in ("resources/list", "server/discover", "tasks/get"):
        error(post(rpc(method, agreed), agreed, session), 200, -32601)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "1", "2026-07-29"])
def test_a_version_that_is_not_supported(post: Post, version: str) -> None:
    document = error(post(rpc("tools/list", version), version), 400, -32022)
    assert document["error"]["data"]["requested"] == version


@pytest.mark.parametrize("session", ["x", "W10=", "bnVsbA==", "é", "W1siYSJdLCB7Im5hbWUiOiA1fV0=", "A" * 8000])
def test_a_session_id_of_other_origin_names_no_client(post: Post, desk: Desk, session: str) -> None:
    call = rpc("tools/call", VERSIONS[1], name="request_approval", arguments={"action": "Refund", "wait_seconds": 0})
    response = post(call, VERSIONS[1], {"Mcp-Session-Id": session})
    assert response.json()["result"]["structuredContent"]["status"] == "pending"
    (pause,) = desk.all()
    assert pause["metadata"]["client"] == {"tool": "request_approval"}


def refused(post: Post, tool: str, arguments: Any) -> str:
    """Return the text of a refused call, which is the same in each version."""
    texts = set()
    for version in VERSIONS:
        response = post(rpc("tools/call", version, name=tool, arguments=arguments), version)
        assert response.status_code == 200, response.text
        result = response.json()["result"]
        assert result["isError"] is True, result
        assert "structuredContent" not in result
        texts.add(result["content"][0]["text"])
    (text,) = texts
    return str(text)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("request_approval", {}, '"action" is a required property'),
        ("request_approval", {"action": "x", "acton": 1}, "'acton' was unexpected"),
        ("request_approval", {"action": " "}, "action: says nothing"),
        ("request_approval", {"action": "x" * 501}, "action: "),
        ("request_approval", {"action": "x", "wait_seconds": 51}, "wait_seconds: "),
        ("request_approval", {"action": "x", "wait_seconds": True}, "wait_seconds: "),
        ("request_approval", {"action": "x", "arguments": [1]}, "arguments: "),
        ("request_approval", {"action": "x", "arguments": {"a": "\0"}}, "contains a NUL"),
        ("request_approval", {"action": "\ud800"}, "surrogate"),
        ("request_approval", {"action": "x", "arguments": {"n": 2**60}}, "arguments.n"),
        ("request_approval", {"action": "x", "arguments": {"a": "x" * 300_000}}, "is larger than 256 KiB"),
        ("request_approval", {"action": "x", "review": {"approvals": 0}}, "approvals"),
        ("request_approval", {"action": "x", "on_timeout": "approve"}, "onTimeout"),
        ("request_approval", {"action": "x", "expires_in": 0}, "expires_in: "),
        ("request_approval", {"action": "x", "response_schema": {"type": "nonsense"}}, "responseSchema"),
        ("wait_for_decision", {"watchId": "wch_0"}, "NOT_FOUND"),
        ("use_approval", {"watchId": "wch_" + "0" * 32}, "NOT_FOUND"),
        ("record_outcome", {"watchId": "wch_" + "0" * 32, "status": "done"}, "status: "),
        ("cancel_request", {"watchId": "../"}, "NOT_FOUND"),
        ("ask_human", {"question": "x", "options": ["a"], "schema": {}}, "give either"),
        ("ask_human", {"question": "x", "options": []}, "options: "),
    ],
)
def test_a_refused_call_tells_the_model_what_is_wrong(
    post: Post, desk: Desk, tool: str, arguments: Any, words: str
) -> None:
    assert words in refused(post, tool, arguments)
    assert desk.all() == []


def test_a_tool_that_does_not_exist(post: Post) -> None:
    for name in ("nothing", "x" * 5000, 5, None):
        for version, status in zip(VERSIONS, (400, 200, 200), strict=True):
            error(post(rpc("tools/call", version, name=name), version), status, -32602)
    error(post(rpc("tools/call", name="ask_human", arguments=[1])), 400, -32602)
    error(post(rpc("x" * 5000)), 404, -32601)


@pytest.mark.parametrize("version", VERSIONS)
def test_results_have_the_shape_of_their_version(post: Post, version: str) -> None:
    """By the models of the package `mcp`."""
    held = {"action": "Refund", "arguments": {"cents": 5}, "wait_seconds": 0}
    first = (
        ("server/discover", {})
        if version == VERSIONS[0]
        else ("initialize", {"protocolVersion": version, "capabilities": {}})
    )
    asked: list[tuple[str, dict[str, Any]]] = [
        first,
        ("tools/list", {}),
        ("tools/call", {"name": "request_approval", "arguments": held}),
        ("tools/call", {"name": "ask_human", "arguments": {"question": "Why?", "wait_seconds": 1}}),
        ("tools/call", {"name": "get_decision", "arguments": {"watchId": "x"}}),
    ]
    schemas = {}
    for method, params in asked:
        response = post(rpc(method, version, **params), version)
        assert response.status_code == 200, response.text
        result = json.loads(response.text.rpartition("data: ")[2])["result"]
        methods.validate_server_result(method, version, result)
        assert ("resultType" in result) == (version == VERSIONS[0])
        schemas |= {tool["name"]: tool["outputSchema"] for tool in result.get("tools", ())}
        if "structuredContent" in result:
            assert not list(json_schema.value_errors(schemas[params["name"]], result["structuredContent"], ""))
            assert json.loads(result["content"][1]["text"]) == result["structuredContent"]
