"""A real MCP server for models, over stdio: tools with every kind of annotation, and resources.

Each tool's call is a line in the file CALLED names, before anything else is done.
"""

import asyncio
import os
import time
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

server = MCPServer("shelf")
reads = ToolAnnotations(read_only_hint=True)
repeatable = ToolAnnotations(idempotent_hint=True)


def note(line: str) -> None:
    with open(os.environ["CALLED"], "a") as file:
        file.write(line + "\n")


@server.tool(annotations=reads)
def look(title: str) -> dict[str, Any]:
    """Return the facts about a book."""
    note(f"look {title}")
    return {"title": title, "copies": 3, "place": {"row": "B", "number": 12}}


@server.tool(annotations=reads)
def page(kib: int) -> str:
    """A long text."""
    return "x" * (kib * 1024) + " the end"


@server.tool(annotations=repeatable)
def lend(title: str, idempotency_key: str = "") -> dict[str, Any]:
    """Lend a book."""
    note(f"lend {title} {idempotency_key}")
    if title == "locked":
        raise ToolError("that book is locked away")
    return {"lent": title}


@server.tool()
async def burn(title: str) -> dict[str, Any]:
    """Burn a book. For good."""
    note(f"burn {title}")
    if title == "slow":
        await asyncio.Event().wait()
    if title == "all":
        os._exit(3)
    return {"burnt": title}


@server.tool(annotations=repeatable)
def crash() -> dict[str, Any]:
    note("crash")
    os._exit(3)


@server.tool(annotations=reads)
def slowly(title: str) -> dict[str, Any]:
    note(f"begin {title}")
    time.sleep(0.2)
    note(f"end {title}")
    return {"title": title}


@server.tool(name="_submit")
def submit(n: int) -> dict[str, Any]:
    note("_submit")
    return {}


@server.resource("book://{title}/text")
def text(title: str) -> str:
    note(f"read {title}")
    if title == "missing":
        raise ValueError("no such book")
    return f"the text of {title}"


server.run("stdio")
