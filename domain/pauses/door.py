"""The door of a pause, `metadata.door`: the client or protocol through which its agent asked."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PATTERN = "^[a-z0-9-]{1,40}$"
_NAME = re.compile(PATTERN)
# The names of our doors, and their titles for people.
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "mcp": "MCP",
        "claude-hook": "Claude Code",
        "exec-hook": "command hook",
        "python-sdk": "Python SDK",
        "js-sdk": "JavaScript SDK",
        "langgraph": "LangGraph",
        "pydantic-ai": "Pydantic AI",
        "openai-agents": "OpenAI Agents",
        "vercel-ai": "Vercel AI SDK",
        "aap": "Agent Approval Protocol",
        "humanlayer": "HumanLayer",
        "awaithumans": "awaithumans",
        "gotohuman": "gotoHuman",
        "gohumanloop": "GoHumanLoop",
        "ask": "sagahold ask",
        "terraform": "Terraform",
    }
)
NO_DOOR, OTHER_DOOR = "api", "other"
_LABEL_TITLES = {NO_DOOR: "API", OTHER_DOOR: "other client"}


def door_of(metadata: Mapping[str, Any] | None) -> str | None:
    """Return the name of the door. A value that cannot be a name counts as none."""
    door = (metadata or {}).get("door")
    return door if isinstance(door, str) and _NAME.fullmatch(door) else None


def object_in(values: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return an object of a pause's metadata, empty if it has none. Its agent may have put anything there."""
    found = (values or {}).get(name)
    return found if isinstance(found, dict) else {}


def title_of(door: str) -> str:
    """Return the title of a door or of a label. A name that is not ours is its own title."""
    return TITLES.get(door) or _LABEL_TITLES.get(door, door)


def door_label(door: str | None) -> str:
    """Return one of a fixed number of names, because agents choose the text freely."""
    if door is None:
        return NO_DOOR
    return door if door in TITLES else OTHER_DOOR
