"""Adapters for agent frameworks, one module each. Each needs its extra, such as `pip install "sagahold[langgraph]"`."""

from sagahold.adapters.tool_calls import Options

__all__ = ["Options"]
