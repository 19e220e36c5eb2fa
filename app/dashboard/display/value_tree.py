"""A value as a tree. A large value is folded, and the approve button shows the number of hidden lines."""

import json
from dataclasses import dataclass, field
from typing import Any

from app.dashboard.framework.page_decorator import dashboard

# A tree of at most WHOLE lines is shown in full; a larger tree shows FEW lines and folds the others.
WHOLE, FEW = 400, 60
# A text of more than TEXT lines gets a scrolling box that shows WINDOW lines at once.
TEXT, WINDOW = 100, 20
# Characters that count as one line of a long line.
LINE = 200
# The minimum number of lines that an object or list shows.
_LEAST = 3
# Limits of values and levels in a tree; the JSON beside it is always complete.
MAX_NODES, MAX_LEVELS = 4_000, 16


@dataclass(slots=True)
class Node:
    """A value in the tree.

    Attributes:
        kind: object, array, string, number, boolean or null.
        text: the text of a value that is neither an object nor an array.
        entries: the entries of an object or array, with their names or positions.
        folded: the entries that appear on request.
        left_out: the number of further entries, which only the JSON shows.
        missing: `left_out` of this value and of the values inside it.
        lines: the height in lines, without entries that are left out.
        window: the text is shown in a scrolling box.
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
        """The number of lines that are not visible at first."""
        return self._unseen() + self.missing

    def _unseen(self) -> int:
        if self.window:
            return self.lines - WINDOW
        return self.folded_lines + sum(child._unseen() for _, child in self.entries)


@dashboard.app_template_filter("tree")
def tree(value: Any, everything: bool = False, whole: int = WHOLE) -> Node:
    """Return the value as a tree.

    Args:
        everything: fold nothing and use no scrolling boxes.
        whole: the number of lines up to which a tree is not folded.
    """
    node = _node(value, 1, [MAX_NODES], everything)
    if node.lines > whole and not everything:
        _fold(node, min(FEW, whole))
    return node


def _node(value: Any, level: int, room: list[int], everything: bool) -> Node:
    """Build a node. `room` counts the values that the whole tree may still hold."""
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
    """Fold the entries that exceed the room; return the number of visible lines."""
    if node.kind not in ("object", "array"):
        return min(node.lines, WINDOW) if node.window else node.lines
    used = 0
    for place, (_, child) in enumerate(node.entries):
        left = room - used
        if left <= 0 and place:
            node.entries, node.folded = node.entries[:place], node.entries[place:]
            break
        last = place == len(node.entries) - 1
        # A large entry leaves room for the entries after it.
        used += _fold(child, max(_LEAST, left if last else left // 2))
    return used
