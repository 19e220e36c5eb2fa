"""A value as a tree. Up to a generous size it is shown whole; what is not is counted, and said where one decides."""

import json
from dataclasses import dataclass, field
from typing import Any

from app.dashboard.framework.page_decorator import dashboard

# Lines of a tree that is shown whole; of a larger one so many are, and the others are folded away.
WHOLE, FEW = 400, 60
# A text of more lines than these is read in a window of its own, which shows so many at once.
TEXT, WINDOW = 100, 20
# Characters that count as a line where a text has longer ones.
LINE = 200
# What an object or list shows at the least, however little room is left.
_LEAST = 3
# Values of one tree, and levels; the JSON beside it is always whole.
MAX_NODES, MAX_LEVELS = 4_000, 16


@dataclass(slots=True)
class Node:
    """
    Attributes:
        kind: object, array, string, number, boolean or null.
        text: of what is neither object nor array.
        entries: of an object or array, with their names or places. folded: those that are shown when asked for.
        left_out: how many more there are, which only the JSON shows. missing: the same, with those inside.
        lines: that it takes, without those that are left out.
        window: it is a text that is read in a window.
    """

    kind: str
    text: str = ""
    entries: list[tuple[str, "Node"]] = field(default_factory=list)
    folded: list[tuple[str, "Node"]] = field(default_factory=list)
    left_out: int = 0
    missing: int = 0
    lines: int = 1
    window: bool = False

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.folded) + self.left_out

    @property
    def block(self) -> bool:
        return "\n" in self.text

    @property
    def nested(self) -> bool:
        return self.size > 0 or self.block or len(self.text) > LINE

    @property
    def folded_lines(self) -> int:
        return sum(child.lines for _, child in self.folded)

    @property
    def total(self) -> int:
        return self.lines + self.missing

    @property
    def unseen(self) -> int:
        """Lines that are not before the eyes at first."""
        return self._unseen() + self.missing

    def _unseen(self) -> int:
        if self.window:
            return self.lines - WINDOW
        return self.folded_lines + sum(child._unseen() for _, child in self.entries)


@dashboard.app_template_filter("tree")
def tree(value: Any, everything: bool = False, whole: int = WHOLE) -> Node:
    """`everything`: nothing is folded, and no text is in a window. `whole`: lines that may be shown at once."""
    node = _node(value, 1, [MAX_NODES], everything)
    if node.lines > whole and not everything:
        _fold(node, min(FEW, whole))
    return node


def _node(value: Any, level: int, room: list[int], everything: bool) -> Node:
    """`room`: how many values may still be shown, in the whole tree."""
    room[0] -= 1
    if isinstance(value, str):
        lines = sum(max(1, -(-len(line) // LINE)) for line in value.split("\n"))
        return Node("string", value, lines=lines, window=lines > TEXT and not everything)
    if not isinstance(value, dict | list):
        kind = "null" if value is None else "boolean" if isinstance(value, bool) else "number"
        return Node(kind, json.dumps(value))
    named = value.items() if isinstance(value, dict) else ((str(place), item) for place, item in enumerate(value, 1))
    node = Node("object" if isinstance(value, dict) else "array")
    if level < MAX_LEVELS:
        for name, item in named:
            if room[0] <= 0:
                break
            node.entries.append((name, _node(item, level + 1, room, everything)))
    node.left_out = len(value) - len(node.entries)
    node.missing = node.left_out + sum(child.missing for _, child in node.entries)
    node.lines = max(1, sum(child.lines for _, child in node.entries))
    return node


def _fold(node: Node, room: int) -> int:
    """Folds away what there is no room for; returns how many lines are left."""
    if node.kind not in ("object", "array"):
        return min(node.lines, WINDOW) if node.window else node.lines
    used = 0
    for place, (_, child) in enumerate(node.entries):
        left = room - used
        if left <= 0 and place:
            node.entries, node.folded = node.entries[:place], node.entries[place:]
            break
        last = place == len(node.entries) - 1
        # One large entry does not take the room of those behind it.
        used += _fold(child, max(_LEAST, left if last else left // 2))
    return used
