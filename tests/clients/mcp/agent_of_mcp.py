"""An agent that uses the client of the package `mcp`. Arguments: http or stdio, and a mode of the client."""

import asyncio
import os
import sys
from typing import Any

import httpx2
from lines import answer, found_in, progressed
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation

transport, mode = sys.argv[1:]


def server() -> Any:
    if transport == "stdio":
        return StdioServerParameters(command=os.environ["SAGAHOLD_COMMAND"], args=["mcp"], env=dict(os.environ))
    headers = {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"}
    # As much as the client's own default waits for the next part of a stream.
    http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300))
    return streamable_http_client(f"{os.environ['SAGAHOLD_URL']}/mcp", http_client=http)


async def main() -> None:
    about = Implementation(name="test-agent", version="1.2.3")
    async with Client(server(), mode=mode, client_info=about) as client:

        async def tools() -> list[str]:
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return found_in(await client.call_tool(tool, arguments, progress_callback=progressed))

        await answer(tools, call, MCPError)


asyncio.run(main())
