"""An agent that uses the client of the package `fastmcp`."""

import asyncio
import os
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from lines import answer, found_in, progressed

headers = {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"}
transport = StreamableHttpTransport(f"{os.environ['SAGAHOLD_URL']}/mcp", headers=headers)


async def main() -> None:
    async with Client(transport, progress_handler=progressed) as client:

        async def tools() -> list[str]:
            return [tool.name for tool in await client.list_tools()]

        async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return found_in(await client.call_tool(tool, arguments, raise_on_error=False))

        await answer(tools, call, Exception)


asyncio.run(main())
