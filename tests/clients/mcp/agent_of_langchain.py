"""An agent that uses the tools that `langchain-mcp-adapters` makes of the server's."""

import asyncio
import json
import os
from typing import Any

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from lines import answer, progressed


async def main() -> None:
    server = {
        "transport": "streamable_http",
        "url": f"{os.environ['SAGAHOLD_URL']}/mcp",
        "headers": {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"},
    }
    client = MultiServerMCPClient({"sagahold": server}, callbacks=Callbacks(on_progress=progressed))
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def names() -> list[str]:
        return list(tools)

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        # As an agent calls it: with the id of a model's call.
        wanted = {"name": tool, "args": arguments, "id": "call-1", "type": "tool_call"}
        message = await tools[tool].ainvoke(wanted)
        refused = message.status == "error"
        texts = [message.content] if isinstance(message.content, str) else [part["text"] for part in message.content]
        # A model of this client reads only the texts.
        return {"isError": refused, "text": texts[0], "structured": None if refused else json.loads(texts[1])}

    # This client asks for the list of tools after each call, which fails while the server restarts.
    await answer(names, call, Exception)


asyncio.run(main())
