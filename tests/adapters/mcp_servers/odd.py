"""A real MCP server whose tools misbehave in every way that a client must survive.

Arguments: `stdio`, or `http PORT` or `sse PORT` on loopback. It appends its process id to the file in STARTED. It
appends each tool's name to the file in CALLED before the tool does anything. Tests read both.
"""

import asyncio
import os
import sys
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent, ToolAnnotations

server = MCPServer("odd")
# The SDK points file descriptor 1 at stderr while it serves, so that a careless `print` does no harm.
STDOUT = os.dup(1)


def note(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with open(path, "a") as file:
            file.write(text + "\n")


@server.tool(annotations=ToolAnnotations(idempotent_hint=True, destructive_hint=False))
def echo(value: Any) -> dict[str, Any]:
    return {"value": value}


@server.tool()
async def meta(context: Context, idempotency_key: str = "", warden_idempotency_key: str = "") -> dict[str, Any]:
    """Return the metadata of the call."""
    came = dict(context.request_context.meta or {})
    return {"meta": came, "argument": idempotency_key, "other": warden_idempotency_key}


@server.tool()
async def pay_back(order: str, remark: str | None = None) -> dict[str, Any]:
    note("CALLED", "pay_back")
    return {"order": order, "remark": remark}


@server.tool()
async def tell(context: Context, message: str, times: int = 1, hangs: bool = False) -> dict[str, Any]:
    """Says how far it is."""
    for number in range(1, times + 1):
        await context.report_progress(number, times, message)
    while hangs:
        await asyncio.sleep(60)
    return {"told": times}


@server.tool()
def environment() -> dict[str, Any]:
    return dict(os.environ)


gathering = asyncio.Condition()
present = 0


@server.tool()
async def meet(count: int) -> dict[str, Any]:
    """Answers only when so many calls are in flight at once."""
    global present
    async with gathering:
        present += 1
        gathering.notify_all()
        await gathering.wait_for(lambda: present >= count)
    return {"met": count}


@server.tool()
async def hang() -> dict[str, Any]:
    note("CALLED", "hang")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("CALLED", "hang cancelled")
        raise
    return {}


@server.tool()
def block() -> dict[str, Any]:
    """Nothing of the server runs any more."""
    note("CALLED", "block")
    os.kill(os.getpid(), 19)  # SIGSTOP
    return {}


@server.tool()
def crash() -> dict[str, Any]:
    note("CALLED", "crash")
    os._exit(3)


@server.tool()
async def garbage(text: str) -> dict[str, Any]:
    """In the middle of the call something else comes out of stdout, and never an answer."""
    note("CALLED", "garbage")
    os.write(STDOUT, text.encode() + b"\n")
    await asyncio.Event().wait()
    return {}


@server.tool()
async def chat(text: str) -> dict[str, Any]:
    """A program's careless words on stdout, then the answer."""
    with os.fdopen(os.dup(STDOUT), "wb") as stdout:
        stdout.write(text.encode())
    return {"said": text[:20]}


@server.tool()
def flood(megabytes: int) -> str:
    return "x" * (megabytes * 1024 * 1024)


@server.tool()
def fail(message: str) -> str:
    raise ToolError(message)


@server.tool()
def refuse(code: int, message: str) -> str:
    raise MCPError(code=code, message=message)


@server.tool()
def text(value: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=value)])


@server.tool()
def structured(value: Any) -> Annotated[CallToolResult, dict[str, Any]]:
    return CallToolResult(content=[TextContent(type="text", text="not this")], structured_content={"value": value})


@server.tool()
def child() -> dict[str, Any]:
    """Starts a process that would outlive the server."""
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
    return {"pid": pid}


def main() -> None:
    note("STARTED", str(os.getpid()))
    print("odd server starts", file=sys.stderr)
    match sys.argv[1:]:
        case ["http", port, *rest]:
            server.run("streamable-http", host="127.0.0.1", port=int(port), json_response="json" in rest)
        case ["sse", port]:
            server.run("sse", host="127.0.0.1", port=int(port))
        case _:
            server.run("stdio")


main()
