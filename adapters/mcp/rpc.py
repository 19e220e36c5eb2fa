"""JSON-RPC as servers write it, made what the SDK reads: what is odd but means one thing only is taken for that.

The SDK drops an answer that is not exactly as MCP says, or reports it as an error of its own. Both would tell of a tool
that has done its work that it has not.
"""

import json
from collections.abc import Mapping
from typing import Any

from adapters.mcp.outcome import words

# In an error's `data`: the server sent it. The SDK makes up errors with the same codes.
FROM_SERVER = "sagahold/from-server"
# Instead of a result that is no object: what it is.
BARE = "sagahold/bare"
# Of no meaning: what an error has whose code cannot be read.
_NO_CODE = 0


class ResponseMismatch(Exception):
    """It answers another request than the one that it came for."""


def tidied(raw: bytes, request_id: int | None = None) -> bytes | None:
    """The message as the SDK reads it, or None where it is none; `raw` itself unless something is odd.

    Args:
        request_id: when only an answer to that request can come here. Raises `ResponseMismatch` for any other.
    """
    message = parsed(raw)
    if request_id is not None and isinstance(message, list):
        # A batch of one, as an older protocol allows.
        message = message[0] if len(message) == 1 else None
        raw = b""
    if not isinstance(message, dict):
        return None
    if request_id is not None and "jsonrpc" not in message and "method" not in message:
        message["jsonrpc"], raw = "2.0", b""
    if message.get("jsonrpc") != "2.0":
        return None
    if "method" in message:
        return raw or json.dumps(message).encode()
    if "result" not in message and message.get("error") is None:
        return None
    changes = _read_answer(message, request_id)
    if raw and all(name in message and message[name] is value for name, value in changes.items()):
        return raw
    return json.dumps({"jsonrpc": "2.0", **changes}).encode()


def parsed(raw: bytes) -> Any:
    """None where it is no JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def error_of(raw: bytes) -> Mapping[str, Any] | None:
    """The error in an answer, if there is one."""
    message = parsed(raw)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or "method" in message:
        return None
    error = message.get("error")
    return None if error is None else _error(error)


def _read_answer(message: Mapping[str, Any], request_id: int | None) -> dict[str, Any]:
    """`id` and `result` or `error`."""
    id_ = _id(message.get("id"))
    error = message.get("error")
    if request_id is not None and not (id_ is None and error is not None) and id_ != request_id:
        raise ResponseMismatch
    found: dict[str, Any] = {"id": id_ if request_id is None else request_id}
    if error is None:
        result = message["result"]
        return {**found, "result": result if isinstance(result, dict) else {BARE: result}}
    if message.get("result") is not None:
        error = {"message": "it has both a result and an error", "data": message["result"]}
    return {**found, "error": _error(error)}


def _id(value: Any) -> Any:
    """Servers answer `"7"` or `7.0` for `7`."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 16:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _error(error: Any) -> dict[str, Any]:
    found = error if isinstance(error, dict) else {"message": error}
    code, message, data = found.get("code"), found.get("message"), found.get("data")
    if not isinstance(message, str):
        message = "no reason" if message is None else json.dumps(message)
    about = data if isinstance(data, dict) else {} if data is None else {"data": data}
    return {
        "code": code if isinstance(code, int) and not isinstance(code, bool) else _NO_CODE,
        "message": words(message),
        "data": {**about, FROM_SERVER: True},
    }
