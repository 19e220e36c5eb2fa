"""How an application tells the bench of an event. Standard library only, because it runs in each peer's environment."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

_bench = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_address = ("127.0.0.1", int(os.environ["BENCH_PORT"]))
HELD, RESUMED, DONE = "held", "resumed", "done"


def tell(kind: str, token: str, extra: str = "-") -> None:
    """Tell the bench that this happened to `token` now. All processes of a machine share the monotonic clock."""
    _bench.sendto(f"{kind} {token} {time.monotonic()} {extra}".encode(), _address)


def application(start: Callable[[], Awaitable[None]], perform: Callable[[str, dict[str, Any]], Awaitable[None]]) -> Any:
    """An ASGI application with one route: POST /OPERATION awaits `perform(OPERATION, document)`, then answers 202."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if scope["path"] != "/":
            await perform(scope["path"].strip("/"), json.loads(body))
        headers = [(b"content-length", b"2"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


async def nothing() -> None:
    await asyncio.sleep(0)
