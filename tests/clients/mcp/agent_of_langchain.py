"""An agent that uses the tools that `langchain-mcp-adapters` makes of the server's."""

import asyncio
import json
import os
import sys

from langchain_mcp_adapters.callbacks import CallbackContext, Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient


def tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


async def progressed(progress: float, total: float | None, message: str | None, context: CallbackContext) -> None:
    tell(progress=progress, total=total, message=message)


async def main() -> None:
    server = {
        "transport": "streamable_http",
        "url": f"{os.environ['SAGAHOLD_URL']}/mcp",
        "headers": {"Authorization": f"Bearer {os.environ['SAGAHOLD_API_KEY']}"},
    }
    client = MultiServerMCPClient({"sagahold": server}, callbacks=Callbacks(on_progress=progressed))
    tools = {tool.name: tool for tool in await client.get_tools()}
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        if not wanted:
            tell(tools=list(tools))
            continue
        # As an agent calls it: with the id of a model's call.
        call = {"name": wanted["tool"], "args": wanted["arguments"], "id": "call-1", "type": "tool_call"}
        try:
            message = await tools[wanted["tool"]].ainvoke(call)
        except Exception as error:
            # This client asks for the list of tools after each call, which fails while the server restarts.
            tell(isError=True, text=str(error), structured=None)
            continue
        refused = message.status == "error"
        texts = [message.content] if isinstance(message.content, str) else [part["text"] for part in message.content]
        # A model of this client reads only the texts.
        tell(isError=refused, text=texts[0], structured=None if refused else json.loads(texts[1]))


asyncio.run(main())
