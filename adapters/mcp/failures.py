"""The meaning of an error for a call or a session."""

from typing import NoReturn

import httpx2
import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from adapters.mcp.framing import MAX_MESSAGE_BYTES, OVERSIZED, Exchange
from adapters.mcp.http import PERMANENT, SessionGone
from adapters.mcp.outcome import CallError, bad_output, tool_failed, tool_not_found, words
from adapters.mcp.result import BAD_OUTPUT, UNKNOWN_TOOL, excerpt
from adapters.mcp.rpc import FROM_SERVER
from adapters.mcp.starting import LASTING, why_not_started
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.outcome import Failed

# With these a server says that it did not carry out the call. Others come from a proxy, or follow the execution.
_NOT_DONE = frozenset(
    (
        mcp_types.PARSE_ERROR,
        mcp_types.INVALID_REQUEST,
        mcp_types.METHOD_NOT_FOUND,
        mcp_types.INVALID_PARAMS,
        mcp_types.HEADER_MISMATCH,
        mcp_types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        mcp_types.UNSUPPORTED_PROTOCOL_VERSION,
        mcp_types.URL_ELICITATION_REQUIRED,
    )
)
# The Python SDK's servers report any failed validation in a tool by this, even of data that the tool fetched itself.
_ANY_VALIDATION = "Invalid request parameters"


def raise_outcome(error: Exception, source: ToolSource, what: str, exchange: Exchange) -> NoReturn:
    """Raise the `CallError` of a request, from the note of the transport or the error of the SDK."""
    where = f"tool source {source.name!r}"
    match error:
        case SessionGone():
            raise error
        case CallError():
            raise error.prefixed(where) from None
        case MCPError(code=code) if code == OVERSIZED:
            text = f"{what} was executed, but its answer is over the limit of {MAX_MESSAGE_BYTES} bytes"
            raise bad_output(text) from None
        case MCPError() if from_server(error):
            _raise_answered(error, where, what, acts=exchange.call)
        case MCPError() if not exchange.sent:
            raise SessionGone(f"{where}: the connection is closed") from None
        case ValidationError():
            raise CallError.lost(f"{where}: the answer to {what} is not as MCP says") from None
    raise CallError.lost(f"{where} was lost while {what} ran: {reason(error, source)}", exchange.unread) from error


def from_server(error: Exception) -> bool:
    """Whether the server answered this error: the SDK makes up some of its own."""
    return isinstance(error, MCPError) and isinstance(error.data, dict) and FROM_SERVER in error.data


def _raise_answered(error: MCPError, where: str, what: str, *, acts: bool) -> NoReturn:
    """`acts`: the request may have changed something."""
    text = words(error.message)
    if BAD_OUTPUT.match(text):
        raise bad_output(f"{what} was executed: {text}") from None
    if acts and (error.code not in _NOT_DONE or text == _ANY_VALIDATION):
        more = {name: value for name, value in (error.data or {}).items() if name != FROM_SERVER}
        told = {"code": error.code, "message": error.message, **({"data": more} if more else {})}
        text = f"{where}: {what} ended with error {error.code} ({text}), which does not say whether it was carried out"
        raise CallError.lost(words(text), excerpt(told)) from None
    if error.code == mcp_types.METHOD_NOT_FOUND:
        raise tool_not_found(f"{where} does not have {what}: {text}") from None
    raise (tool_not_found if UNKNOWN_TOOL.match(text) else tool_failed)(text) from None


def is_permanent(error: BaseException) -> bool:
    """Whether a later try finds the same."""
    match error:
        case BaseExceptionGroup(exceptions=(first, *_)):
            return is_permanent(first)
        case CallError():
            return isinstance(error.outcome, Failed)
        case httpx2.HTTPStatusError():
            return error.response.status_code in PERMANENT
        case OSError():
            return error.errno in LASTING
    return isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL)


def reason(error: BaseException, source: ToolSource) -> str:
    """Return a short text without addresses and headers, which may hold secrets from the environment."""
    match error:
        case BaseExceptionGroup(exceptions=(first, *_)):
            return reason(first, source)
        case CallError():
            return str(error)
        case MCPError(code=mcp_types.CONNECTION_CLOSED) if not from_server(error):
            told = "; what it wrote to stderr is in the worker's log" if source.transport is Transport.STDIO else ""
            return f"the server closed the connection{told}"
        case MCPError():
            return words(error.message)
        case httpx2.HTTPStatusError():
            status = error.response.status_code
            hint = ": look at the credentials in its `headers`" if status in (401, 403) else ""
            return f"the server answered HTTP {status}{hint}"
        case httpx2.TransportError():
            return f"no connection: {str(error) or type(error).__name__}"
        case OSError(errno=int()) if source.transport is Transport.STDIO:
            return f"it cannot be started: {why_not_started(error, source)}"
        case ValidationError():
            return "what it says of itself is not as MCP says"
    return type(error).__name__
