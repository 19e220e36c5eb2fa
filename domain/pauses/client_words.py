"""The client's own words in the metadata of a pause: short texts that tell a reviewer where the request comes from.

An agent writes them, so they are claims. Each page and view escapes them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from domain.pauses.door import door_of, title_of

# More or longer words are no summary. The metadata has all of them.
MAX_FACTS, MAX_NAME, MAX_TEXT = 10, 40, 200
# People read these in place of the names that doors use.
_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "name": "Name",
        "version": "Version",
        "tool": "Tool",
        "function": "Function",
        "framework": "Framework",
        "cwd": "Directory",
        "session": "Session",
        "thread": "Thread",
        "run": "Run",
        "call": "Call",
        "workspace": "Workspace",
    }
)


@dataclass(frozen=True, slots=True)
class ClientWords:
    """The words of the client.

    Attributes:
        door: the name of the door, or None.
        title: the door as people call it, or None.
        facts: pairs of a label and a text.
        whole: `facts` has everything that the client wrote.
        submission: the request as the client sent it to the door, or None.
        rest: the metadata that is not shown by the other attributes.
    """

    door: str | None
    title: str | None
    facts: tuple[tuple[str, str], ...]
    whole: bool
    submission: Any
    rest: Mapping[str, Any]


def client_words(metadata: Mapping[str, Any] | None) -> ClientWords:
    left = dict(metadata or {})
    door = door_of(left)
    if door is not None:
        del left["door"]
    submission = None if door is None else left.pop("submission", None)
    facts, whole = _facts(left.get("client"))
    if facts and whole:
        del left["client"]
    return ClientWords(door, None if door is None else title_of(door), facts, whole, submission, left)


def _facts(client: Any) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the texts, and whether they are all of it."""
    if not isinstance(client, dict):
        return (), True
    found: list[tuple[str, str]] = []
    whole = True
    for name, value in client.items():
        if isinstance(value, dict | list) or not str(name).strip() or len(found) == MAX_FACTS:
            whole = False
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        label, shown = _short(_LABELS.get(name, name), MAX_NAME), _short(text, MAX_TEXT)
        whole = whole and len(name) <= MAX_NAME and len(text) <= MAX_TEXT
        found.append((label, shown))
    return tuple(found), whole


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
