"""Output for people: tables and trees in a terminal, plain text in a pipe.

Text from agents and receivers is shown with visible control characters, so that an escape sequence cannot rewrite what
the reviewer reads.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from domain.values.confusables import escaped, marked

STYLES = {
    "pending": "yellow",
    "approved": "green",
    "delivered": "green",
    "succeeded": "green",
    "rejected": "red",
    "exhausted": "red",
    "failed": "red",
    "blocked": "red",
    "timed_out": "red",
    "expired": "magenta",
    "cancelled": "dim",
    # Sagas and steps
    "RUNNING": "cyan",
    "IN_PROGRESS": "cyan",
    "AWAITING_HUMAN": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "COMPENSATING": "magenta",
    "COMPENSATED": "magenta",
    "SKIPPED": "dim",
}
# A pipe gets whole lines, for grep and awk.
PIPE_WIDTH = 10_000
_DURATIONS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def console(*, stderr: bool = False) -> Console:
    piped = not (sys.stderr if stderr else sys.stdout).isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=PIPE_WIDTH if piped else None, highlight=False, markup=False, emoji=False)


def clean(text: object, *, lines: bool = False) -> str:
    """Return the text with control and hidden characters visible (`\\x1b`), and line ends too unless `lines`."""
    shown = "".join(marked(str(text), _escaped)).replace("\t", "\\t")
    return shown if lines else shown.replace("\n", "\\n")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def status(word: str) -> Text:
    return Text(clean(word), style=STYLES.get(word, ""))


def short(text: object) -> Text:
    """Return the text as one line, cut at the end of its column."""
    return Text(clean(text), no_wrap=True, overflow="ellipsis")


def lines(*texts: Text) -> Text:
    """Return the texts below each other."""
    return Text("\n", no_wrap=True, overflow="ellipsis").join(texts)


def table(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    """Return a table. Only texts made by `short` are cut; the first column, an id, never wraps either."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        made.add_column(heading, no_wrap=number == 0)
    for row in rows:
        made.add_row(*row)
    return made


def page(screen: Console, document: dict[str, Any], listed: Table, nothing: str) -> None:
    """Print a list and the option for its next page; print `nothing` if it is empty.

    A page may be empty although matches follow: the server reads only so many rows for it.
    """
    if document["items"]:
        screen.print(listed)
    else:
        screen.print(f"{nothing} so far" if document["next_cursor"] else nothing)
    if document["next_cursor"]:
        screen.print(f"more: --cursor {document['next_cursor']}", style="dim", soft_wrap=True)


def facts(screen: Console, rows: Iterable[tuple[str, RenderableType | None]]) -> None:
    """Print names and values below each other, without those that are None."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            made.add_row(name, Text(clean(value, lines=True)) if isinstance(value, str) else value)
    screen.print(made)


def tree(title: str, value: Any) -> Tree:
    root = Tree(Text(title, style="bold"), guide_style="dim")
    _grow(root, value)
    return root


def _grow(branch: Tree, value: Any) -> None:
    entries = value.items() if isinstance(value, dict) else enumerate(value, 1)
    for name, inner in entries:
        label = Text(clean(name), style="dim")
        if isinstance(inner, dict | list) and inner:
            _grow(branch.add(label), inner)
        else:
            text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
            branch.add(label.append(": ").append(clean(text, lines=True), style="not dim"))


def pretty_json(value: Any) -> Text:
    """Return the exact value as indented JSON."""
    return Text(escaped(json.dumps(value, ensure_ascii=False, indent=2)))


def span(seconds: float) -> str:
    """Return a duration in words: `5 s`, `3 min`, `23 h 59 min`, `2 d 4 h`."""
    left = max(0, round(seconds))
    words: list[str] = []
    for size, unit in _DURATIONS:
        if left >= size or (unit == "s" and not words):
            words.append(f"{left // size} {unit}")
            left %= size
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words)


def when(instant: str | None, *, nothing: str = "never") -> str:
    """Return a time relative to now: `in 2 h`, `5 min ago`."""
    if instant is None:
        return nothing
    seconds = (datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
