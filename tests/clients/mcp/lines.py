"""The test's side of an agent: calls come as lines on stdin, and answers go out as lines on stdout."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any


def tell(**found: Any) -> None:
    print(json.dumps(found), flush=True)


async def progressed(progress: float, total: float | None, message: str | None, *_: Any) -> None:
    tell(progress=progress, total=total, message=message)


async def answer(
    tools: Callable[[], Awaitable[list[str]]],
    call: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]],
    refusal: type[Exception],
) -> None:
    """Answer each line until stdin ends. `refusal`: the client raises it for a call that failed."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        if not wanted:
            tell(tools=await tools())
            continue
        try:
            found = await call(wanted["tool"], wanted["arguments"])
        except refusal as error:
            tell(isError=True, text=str(error), structured=None)
            continue
        tell(**found)


def found_in(result: Any) -> dict[str, Any]:
    """Return the answer for a result of `mcp` or `fastmcp`."""
    text = getattr(result.content[0], "text", None)
    return {"isError": result.is_error, "text": text, "structured": result.structured_content}
