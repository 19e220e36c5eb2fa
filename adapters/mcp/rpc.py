"""JSON-RPC as servers write it, rewritten for the SDK: an odd message with only one meaning is read as that.

The SDK drops an answer that does not follow MCP exactly, or reports an error of its own. Either would say that a tool
has not done its work when it has.
"""

import json
from collections.abc import Mapping
from typing import Any

from adapters.mcp.outcome import words

# In an error's `data`, this marks an error that the server sent. The SDK makes up errors with the same codes.
FROM_SERVER = "sagahold/from-server"
# This member holds a result that is not an object.
BARE = "sagahold/bare"
# The code of an error whose own code cannot be read. It has no meaning.
_NO_CODE = 0


class ResponseMismatch(Exception):
    """An answer that belongs to another request."""


def tidied(raw: bytes, request_id: int | None = None) -> bytes | None:
    """Return the message as the SDK reads it; `raw` itself if nothing is odd; None for anything else than a message.

    Args:
        request_id: given where only an answer to that request can arrive. Raises `ResponseMismatch` for any other.
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
    """Return the JSON value; None: it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def error_of(raw: bytes) -> Mapping[str, Any] | None:
    """Return the error in an answer, if it has one."""
    message = parsed(raw)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or "method" in message:
        return None
    error = message.get("error")
    return None if error is None else _error(error)


def _read_answer(message: Mapping[str, Any], request_id: int | None) -> dict[str, Any]:
    """Return `id`, and `result` or `error`."""
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
    """Return the id as a number: some servers answer `"7"` or `7.0` for `7`."""
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
