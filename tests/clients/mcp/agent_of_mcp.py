"""An agent that uses the client of the package `mcp`. Arguments: http or stdio, and a mode of the client."""

import asyncio
import json
import os
import sys
from typing import Any

import httpx2
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


def tell(**found: Any) -> None:
    print(json.dumps(found), flush=True)


async def progressed(progress: float, total: float | None, message: str | None) -> None:
    tell(progress=progress, total=total, message=message)


async def main() -> None:
    about = Implementation(name="test-agent", version="1.2.3")
    async with Client(server(), mode=mode, client_info=about) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            if not wanted:
                tell(tools=[tool.name for tool in (await client.list_tools()).tools])
                continue
            try:
                result = await client.call_tool(wanted["tool"], wanted["arguments"], progress_callback=progressed)
            except MCPError as error:
                tell(isError=True, text=str(error), structured=None)
                continue
            text = getattr(result.content[0], "text", None)
            tell(isError=result.is_error, text=text, structured=result.structured_content)


asyncio.run(main())
