"""The door for agents that speak the Model Context Protocol."""

from app.doors.mcp.endpoint import mcp

__all__ = ["mcp"]
