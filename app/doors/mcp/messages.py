"""JSON-RPC messages of the Model Context Protocol: what a request is, which version it speaks, and its errors.

The version 2026-07-28 has no session: each request carries its version and its client. The two versions before it
begin with `initialize`, whose response hands out a session id. That id only repeats the client's name, so this server
keeps no sessions, and a restart ends none.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request

from domain.values import canonical_json

NEWEST = "2026-07-28"
WITH_SESSION = ("2025-11-25", "2025-06-18")
VERSIONS = (NEWEST, *WITH_SESSION)

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
TASKS = "io.modelcontextprotocol/tasks"
SESSION_HEADER = "Mcp-Session-Id"
# The parameter that the header `Mcp-Name` repeats. The client of `mcp` 2.3 leaves the header out for tasks.
_NAMED = {"tools/call": "name", "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}
_MAY_LACK_NAME = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
# Characters of a client's own name and version, which people read.
MAX_WORD = 100


class RPCError(Exception):
    """An error that a JSON-RPC response reports. `status` is that of the HTTP response."""

    def __init__(self, code: int, message: str, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.data = code, message, status, data


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client.

    Attributes:
        id: the client's own id of the request; None for a notification.
        client: the client's name and version, as far as it tells them.
        session: the session id of a version that has one.
        tasks: the client declares the tasks extension.
    """

    id: str | int | None
    method: str
    params: dict[str, Any]
    version: str
    client: dict[str, str] = field(default_factory=dict)
    session: str | None = None
    tasks: bool = False

    @property
    def newest(self) -> bool:
        return self.version == NEWEST

    @property
    def progress_token(self) -> str | int | None:
        meta = self.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def call_of(message: Any, request: Request) -> Call:
    """Read the parsed body. Raises `RPCError`."""
    id_, method, params = _envelope(message)
    header = request.headers.get("MCP-Protocol-Version")
    meta = params.get("_meta")
    if id_ is None:
        return Call(None, method, params, header or "", session=request.headers.get(SESSION_HEADER))
    in_body = isinstance(meta, dict) and _VERSION_KEY in meta
    if method == "initialize" and not in_body:
        return Call(id_, method, params, _offered(params), _client(params.get("clientInfo")))
    if header == NEWEST or in_body:
        return _self_contained(id_, method, params, header, request)
    if header is not None and header not in WITH_SESSION:
        raise _unsupported(header)
    session = request.headers.get(SESSION_HEADER)
    return Call(id_, method, params, header or WITH_SESSION[-1], _client_of_session(session), session)


def id_of(message: Any) -> str | int | None:
    """Return the id of a request, as far as it can be read."""
    id_ = message.get("id") if isinstance(message, dict) else None
    return id_ if isinstance(id_, str | int) and not isinstance(id_, bool) else None


def new_session(client: Mapping[str, str]) -> str:
    """Return a session id that repeats the client's name and version."""
    text = json.dumps([secrets.token_hex(8), client])
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def result(call: Call, value: Mapping[str, Any]) -> dict[str, Any]:
    kind = {"resultType": "complete"} if call.newest else {}
    return {"jsonrpc": "2.0", "id": call.id, "result": {**kind, **value}}


def error(id_: str | int | None, code: int, message: str, data: Any = None) -> dict[str, Any]:
    more = {} if data is None else {"data": data}
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message, **more}}


def _envelope(message: Any) -> tuple[str | int | None, str, dict[str, Any]]:
    if isinstance(message, list):
        raise RPCError(INVALID_REQUEST, "batches are not supported: send one message per request")
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RPCError(INVALID_REQUEST, 'the body must be one JSON-RPC message with "jsonrpc": "2.0"')
    if "method" not in message:
        raise RPCError(INVALID_REQUEST, "this server sends no requests, so it takes no responses")
    method, params = message["method"], message.get("params")
    if not isinstance(method, str):
        raise RPCError(INVALID_REQUEST, "`method` must be a string")
    if "id" in message and id_of(message) is None:
        raise RPCError(INVALID_REQUEST, "`id` must be a string or an integer")
    if params is not None and not isinstance(params, dict):
        raise RPCError(INVALID_PARAMS, "`params` must be an object")
    return id_of(message), method, params or {}


def _self_contained(id_: str | int, method: str, params: dict[str, Any], header: str | None, request: Request) -> Call:
    """Check a request of the newest version: its `_meta`, and the headers that repeat parts of the body."""
    meta = params.get("_meta")
    missing = [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if not isinstance(meta, dict) or key not in meta]
    if not isinstance(meta, dict) or missing:
        raise RPCError(INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    version, capabilities = meta[_VERSION_KEY], meta[_CAPABILITIES_KEY]
    _check_header("MCP-Protocol-Version", header, version)
    _check_header("Mcp-Method", request.headers.get("Mcp-Method"), method)
    name, sent = _NAMED.get(method), request.headers.get("Mcp-Name")
    if name is not None and isinstance(params.get(name), str) and not (sent is None and method in _MAY_LACK_NAME):
        _check_header("Mcp-Name", _decoded(sent), params[name])
    if version != NEWEST:
        raise _unsupported(version)
    if not isinstance(capabilities, dict):
        raise RPCError(INVALID_PARAMS, f"params._meta: {_CAPABILITIES_KEY} must be an object")
    extensions = capabilities.get("extensions")
    tasks = isinstance(extensions, dict) and TASKS in extensions
    # This version has no session. `sagahold mcp` sends an id all the same, so that it can cancel a wait.
    session = request.headers.get(SESSION_HEADER)
    return Call(id_, method, params, NEWEST, _client(meta.get(_CLIENT_KEY)), session, tasks)


def _check_header(name: str, sent: str | None, in_body: Any) -> None:
    # Several headers of one name arrive joined by commas, and differ too.
    if sent != in_body:
        raise RPCError(HEADER_MISMATCH, f"the header {name} must repeat the value in the body")


def _decoded(value: str | None) -> str | None:
    """Decode a header that is written as `=?base64?…?=`."""
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unsupported(version: Any) -> RPCError:
    data = {"supported": list(VERSIONS), "requested": version}
    return RPCError(UNSUPPORTED_VERSION, f"this server supports the protocol versions {', '.join(VERSIONS)}", data=data)


def _offered(params: dict[str, Any]) -> str:
    """Return the version that `initialize` agrees on: the client's own if it is supported."""
    wanted = params.get("protocolVersion")
    if not isinstance(wanted, str):
        raise RPCError(INVALID_PARAMS, "`protocolVersion` must be a string", 200)
    return wanted if wanted in WITH_SESSION else WITH_SESSION[0]


def _client(info: Any) -> dict[str, str]:
    if not isinstance(info, dict):
        return {}
    return {name: word for name in ("name", "version") if (word := _word(info.get(name))) is not None}


def _word(value: Any) -> str | None:
    """Return the text as people may read it and the database can store it, or None."""
    if not isinstance(value, str):
        return None
    return "".join(char for char in value[:MAX_WORD] if char.isprintable()) or None


def _client_of_session(session: str | None) -> dict[str, str]:
    try:
        _, client = json.loads(base64.urlsafe_b64decode((session or "")[:2_000]))
    except (ValueError, TypeError, RecursionError):
        return {}
    return _client(client)


def encode(message: Mapping[str, Any]) -> str:
    return canonical_json.encode(message)
