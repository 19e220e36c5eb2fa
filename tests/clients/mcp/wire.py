"""Messages as a program without a client library writes them."""

from collections.abc import Callable
from typing import Any

import httpx

VERSIONS = ["2026-07-28", "2025-11-25", "2025-06-18"]
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
}
Post = Callable[..., httpx.Response]


def rpc(method: str, version: str = "2026-07-28", **params: Any) -> dict[str, Any]:
    meta = {"_meta": META} if version == "2026-07-28" else {}
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, **meta}}


def error(response: httpx.Response, status: int, code: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    assert document["jsonrpc"] == "2.0"
    assert document["error"]["code"] == code, document
    return document
