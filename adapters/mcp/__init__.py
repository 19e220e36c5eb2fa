"""Calls to the tools of MCP servers, from many threads at once. `ToolClient` is the door."""

from adapters.mcp.client import ToolClient
from adapters.mcp.outcome import (
    Answered,
    BadOutput,
    CallResult,
    LeaseLost,
    Lost,
    NotConfigured,
    NotSent,
    TimedOut,
    ToolFailed,
    ToolInfo,
    ToolNotFound,
    Unavailable,
    Unknown,
    not_sent,
)

__all__ = [
    "Answered",
    "BadOutput",
    "CallResult",
    "LeaseLost",
    "Lost",
    "NotConfigured",
    "NotSent",
    "TimedOut",
    "ToolClient",
    "ToolFailed",
    "ToolInfo",
    "ToolNotFound",
    "Unavailable",
    "Unknown",
    "not_sent",
]
