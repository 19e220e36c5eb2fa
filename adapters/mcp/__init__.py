"""Calls of MCP servers' tools, from many threads at once, through a `ToolClient`."""

from adapters.mcp.client import ToolClient
from adapters.mcp.outcome import CallError, ToolInfo

__all__ = ["CallError", "ToolClient", "ToolInfo"]
