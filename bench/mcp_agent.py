"""An agent of the MCP SDK, a process of its own: `python -m bench.mcp_agent NUMBER`. See `bench.round_trips`."""

import asyncio
import os
import sys
import time
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.subject import ACTION, CONTEXT_DOCUMENT


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"}
    http = httpx2.AsyncClient(headers=headers, timeout=60)
    async with Client(streamable_http_client(f"{os.environ['SAGAHOLD_URL']}/mcp", http_client=http)) as client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            return (await client.call_tool(tool, arguments)).structured_content or {}

        for _ in range(int(sys.argv[1])):
            began = time.perf_counter()
            held = await call("request_approval", action=ACTION, arguments=CONTEXT_DOCUMENT, wait_seconds=0)
            print("asks", held["watchId"], flush=True)
            decided = await call("wait_for_decision", watchId=held["watchId"], wait_seconds=50)
            assert decided["approved"], decided
            print("took", time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
