"""How a value of an agent's or a model's is shown: whole, with its types, and with nothing in it that cannot be seen.

Whoever writes such a value may want the reviewer to read something else than what runs: a character that turns the
order of letters around, or that has no width, is shown by its number.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from app.dashboard.frame import dashboard
from domain.difference import Change
from domain.passages import Passage, passages
from domain.unseen import SHAPELESS, is_hidden

# Values of one tree, and levels; the JSON beside it is always whole.
MAX_NODES, MAX_LEVELS = 600, 16
# Values in a part of the tree that is open at first.
OPEN = 30
# Characters and lines of a text that is shown without being asked for.
SHORT, LINES = 400, 12
# Places of one text.
MAX_PASSAGES = 20

# In JSON; the last one may be cut off.
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?')


def _hides(text: str) -> bool:
    """Whether there is any; a no is quick, for the whole text."""
    if text.isascii() and text.isprintable():
        return False
    if text.replace("\n", "").replace("\t", "").isprintable() and not SHAPELESS.search(text):
        return False
    return any(map(is_hidden, text))


@dashboard.app_template_filter("visible")
def visible(text: object) -> Markup:
    """The text as HTML: what a browser would not show, or obey, stands there by its number."""
    text = str(text)
    if not _hides(text):
        return escape(text)
    return Markup("").join(_mark(char) if is_hidden(char) else char for char in text)


def _mark(char: str) -> Markup:
    name = unicodedata.name(char, "a character that is not seen")
    return Markup('<span class="unseen" title="{}">U+{}</span>').format(name.lower(), f"{ord(char):04X}")


@dashboard.app_template_filter("one_line")
def one_line(text: str) -> Markup:
    """JSON in one line, maybe cut off. Each of its texts has a direction of its own: behind letters that are read from
    the right, the numbers that follow would be shown in the other order."""
    if text.isascii():
        return visible(text)
    shown, end = Markup(""), 0
    for found in _TEXT.finditer(text):
        shown += visible(text[end : found.start()]) + Markup("<bdi>{}</bdi>").format(visible(found[0]))
        end = found.end()
    return shown + visible(text[end:])


@dashboard.app_template_filter("pretty")
def pretty(value: Any) -> str:
    """Indented JSON, whole. What is not seen is escaped, as JSON may: it reads back as the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(_escape(char) if is_hidden(char) else char for char in text) if _hides(text) else text


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]


@dataclass(slots=True)
class Node:
    """
    Attributes:
        kind: object, array, string, number, boolean or null.
        entries: of an object or array, with their names or places. left_out: how many more there are.
        weight: values in it, itself too.
        text: of the others.
    """

    kind: str
    text: str
    entries: list[tuple[str, "Node"]]
    left_out: int = 0
    weight: int = 1

    @property
    def open(self) -> bool:
        return self.weight <= OPEN

    @property
    def long(self) -> bool:
        return len(self.text) > SHORT or self.text.count("\n") >= LINES

    @property
    def beginning(self) -> str:
        return " ".join(self.text[: SHORT // 2].split())

    @property
    def size(self) -> int:
        return len(self.entries) + self.left_out


@dashboard.app_template_filter("tree")
def tree(value: Any) -> Node:
    return _node(value, 1, [MAX_NODES])


def _text(value: str) -> Node:
    return Node("string", value, [])


def _node(value: Any, level: int, room: list[int]) -> Node:
    """`room`: how many values may still be shown, in the whole tree."""
    room[0] -= 1
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict | list):
        kind = "null" if value is None else "boolean" if isinstance(value, bool) else "number"
        return Node(kind, json.dumps(value), [])
    named = value.items() if isinstance(value, dict) else ((str(place), item) for place, item in enumerate(value, 1))
    node = Node("object" if isinstance(value, dict) else "array", "", [])
    if level < MAX_LEVELS:
        for name, item in named:
            if room[0] <= 0:
                break
            child = _node(item, level + 1, room)
            node.entries.append((name, child))
            node.weight += child.weight
    node.left_out = len(value) - len(node.entries)
    return node


@dataclass(frozen=True, slots=True)
class Places:
    """`shown`: none where the two values are best shown side by side. `left_out`: how many more there are."""

    shown: tuple[Passage, ...] = ()
    left_out: int = 0


@dashboard.app_template_filter("passages")
def places(change: Change) -> Places:
    """Of a long text that is another now: both begin alike, mostly, and nobody finds the word that is changed."""
    old, new = change.old, change.new
    if not (isinstance(old, str) and isinstance(new, str)) or not (_text(old).long or _text(new).long):
        return Places()
    found = tuple(passages(old, new))
    return Places(found[:MAX_PASSAGES], max(0, len(found) - MAX_PASSAGES))
