"""An agent that uses the client of the package `fastmcp`."""

import asyncio
import json
import os
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

headers = {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"}
transport = StreamableHttpTransport(f"{os.environ['SAGAHOLD_URL']}/mcp", headers=headers)


def tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


async def progressed(progress: float, total: float | None, message: str | None) -> None:
    tell(progress=progress, total=total, message=message)


async def main() -> None:
    async with Client(transport, progress_handler=progressed) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            if not wanted:
                tell(tools=[tool.name for tool in await client.list_tools()])
                continue
            try:
                result = await client.call_tool(wanted["tool"], wanted["arguments"], raise_on_error=False)
            except Exception as error:
                tell(isError=True, text=str(error), structured=None)
                continue
            text = getattr(result.content[0], "text", None)
            tell(isError=result.is_error, text=text, structured=result.structured_content)


asyncio.run(main())
