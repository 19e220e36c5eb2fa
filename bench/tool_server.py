"""The tool of the measured sagas, which only reports the time of each call to the bench.

It implements MCP by hand, with one JSON-RPC message per line. A call through the SDK's server would cost more than the
engine, which is what the bench measures.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

TOOL = {
    "name": "act",
    "inputSchema": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]},
    "annotations": {"idempotentHint": True},
}


def results(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    bench = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = ("127.0.0.1", int(os.environ["BENCH_PORT"]))
    for line in lines:
        message = json.loads(line)
        params = message.get("params") or {}
        match message["method"]:
            case "initialize":
                server = {"name": "bench", "version": "1"}
                found = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": server,
                }
            case "tools/list":
                found = {"tools": [TOOL]}
            case "tools/call":
                token = params["arguments"]["token"]
                # All processes of a machine share the monotonic clock.
                bench.sendto(f"{token} {time.monotonic()}".encode(), address)
                done = {"done": token}
                found = {"content": [{"type": "text", "text": json.dumps(done)}], "structuredContent": done}
            case _:
                found = {}
        if "id" in message:
            yield {"jsonrpc": "2.0", "id": message["id"], "result": found}


if __name__ == "__main__":
    for result in results(sys.stdin):
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
