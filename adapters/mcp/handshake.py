"""What is asked of a server before its tools are called: which protocol, and which tools there are."""

import mcp_types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError

from adapters.mcp.outcome import ToolInfo, Unavailable, tool_info

# A server that speaks only the newer protocol, which has no `initialize`.
_NO_HANDSHAKE = frozenset((mcp_types.METHOD_NOT_FOUND, mcp_types.UNSUPPORTED_PROTOCOL_VERSION))
# A server that lists without end is cut off here.
_MAX_PAGES = 50


async def shake_hands(session: ClientSession) -> None:
    """`initialize`, which almost every server speaks; the newer protocol where there is no such thing."""
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in _NO_HANDSHAKE:
            raise
        await session.discover()


async def all_tools(session: ClientSession) -> dict[str, ToolInfo]:
    tools: dict[str, ToolInfo] = {}
    cursor = None
    for _ in range(_MAX_PAGES):
        page = await session.list_tools(params=mcp_types.PaginatedRequestParams(cursor=cursor))
        tools |= {tool.name: tool_info(tool) for tool in page.tools}
        cursor = page.next_cursor
        if not cursor:
            return tools
    raise Unavailable(f"the server's list of tools has more than {_MAX_PAGES} pages")
