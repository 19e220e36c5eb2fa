"""The requests to a server before its tools are called: the protocol version, and the list of tools."""

import mcp_types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from adapters.mcp.framing import EXCHANGE, Exchange
from adapters.mcp.outcome import CallError, ToolInfo, tool_info, unavailable, words

# A server of the newer protocol, which has no `initialize`, may refuse it by any of these.
_NO_HANDSHAKE = frozenset(
    (
        mcp_types.METHOD_NOT_FOUND,
        mcp_types.UNSUPPORTED_PROTOCOL_VERSION,
        mcp_types.HEADER_MISMATCH,
        mcp_types.INVALID_REQUEST,
        mcp_types.INVALID_PARAMS,
    )
)
# A server that lists without end is cut off here.
_MAX_PAGES = 50


async def shake_hands(session: ClientSession) -> None:
    """Send `initialize`, which almost every server supports; where it is missing, use the newer protocol."""
    exchange = Exchange()
    EXCHANGE.set(exchange)
    refusal = await exchange.outcome(_initialize(session))
    if refusal is None:
        return
    exchange = Exchange()
    EXCHANGE.set(exchange)
    try:
        await exchange.outcome(session.discover())
    except Exception as error:
        if not isinstance(error, MCPError | RuntimeError | ValidationError) and not 400 <= exchange.refused < 500:
            raise
        known = ", ".join(KNOWN_PROTOCOL_VERSIONS)
        text = f"it speaks no protocol version of these: {known}. It says: {words(refusal)}"
        raise CallError(unavailable(text, permanent=True)) from None


async def _initialize(session: ClientSession) -> str | None:
    """Return why the server has no such handshake; None: it has one."""
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in _NO_HANDSHAKE:
            raise
        return error.message
    except RuntimeError as error:  # it answered with a version that has no handshake
        return str(error)
    return None


async def all_tools(session: ClientSession) -> dict[str, ToolInfo]:
    tools: dict[str, ToolInfo] = {}
    cursor = None
    for _ in range(_MAX_PAGES):
        page = await session.list_tools(params=mcp_types.PaginatedRequestParams(cursor=cursor))
        tools |= {tool.name: tool_info(tool) for tool in page.tools}
        cursor = page.next_cursor
        if not cursor:
            return tools
    raise CallError(unavailable(f"the server's list of tools has more than {_MAX_PAGES} pages"))
