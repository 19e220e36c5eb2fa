"""The tool that the measured sagas call: it does nothing but tell the bench when it was called."""

import os
import socket
import time
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("bench")
bench = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address = ("127.0.0.1", int(os.environ.get("BENCH_PORT", "0")))


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def act(token: str) -> dict[str, Any]:
    """All processes of a machine share the monotonic clock."""
    bench.sendto(f"{token} {time.monotonic()}".encode(), address)
    return {"done": token}


if __name__ == "__main__":
    server.run("stdio")
