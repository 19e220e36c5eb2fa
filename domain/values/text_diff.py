"""The differences between two long texts, each with some words around it, so that a reader finds it at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Any

# Characters shown around a change; and the longest distance to the edge of a word at which the change may begin or end.
CONTEXT, WORD = 80, 40
# Beyond this many lines between the common start and end, all of them are one change: comparing each pair is slow.
MAX_LINES = 2_000

# Texts beyond these characters or lines show only the changed passages, at most MAX_PASSAGES of them.
SHORT, LINES = 400, 12
MAX_PASSAGES = 20

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A passage and the text around it. `leads`, `trails`: there is more text before and after."""

    before: str
    text: str
    after: str
    leads: bool
    trails: bool


@dataclass(frozen=True, slots=True)
class ChangedPassage:
    """One change. `line` counts from 1 in the old text."""

    line: int
    old: Surroundings
    new: Surroundings


@dataclass(frozen=True, slots=True)
class Differences:
    """The passages to show, none if the values are best shown side by side. `left_out` counts further passages."""

    shown: tuple[ChangedPassage, ...] = ()
    left_out: int = 0


def places(old: Any, new: Any) -> Differences:
    """Return the changed passages of a long text: both texts mostly begin alike, which hides the changed word."""
    if not (isinstance(old, str) and isinstance(new, str)) or not (_long(old) or _long(new)):
        return Differences()
    found = tuple(passages(old, new))
    return Differences(found[:MAX_PASSAGES], max(0, len(found) - MAX_PASSAGES))


def _long(text: str) -> bool:
    return len(text) > SHORT or text.count("\n") >= LINES


def passages(old: str, new: str) -> Iterator[ChangedPassage]:
    """Yield the changed passages in order, none for equal texts."""
    lines, others = _LINE.findall(old), _LINE.findall(new)
    starts, other_starts = _starts(lines), _starts(others)
    for i1, i2, j1, j2 in _runs(lines, others):
        before, after = old[starts[i1] : starts[i2]], new[other_starts[j1] : other_starts[j2]]
        head, tail = _ends(before, after)
        yield ChangedPassage(
            i1 + 1 + before.count("\n", 0, head),
            _side(old, starts[i1] + head, starts[i2] - tail),
            _side(new, other_starts[j1] + head, other_starts[j2] - tail),
        )


def _starts(lines: Sequence[str]) -> list[int]:
    return list(accumulate(map(len, lines), initial=0))


def _runs(a: list[str], b: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the runs of lines that differ: start and end in each of the two lists."""
    head, tail = _common(a, b)
    a, b = a[head : len(a) - tail], b[head : len(b) - tail]
    if max(len(a), len(b)) > MAX_LINES:
        yield head, head + len(a), head, head + len(b)
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b).get_opcodes():
        if tag != "equal":
            yield head + i1, head + i2, head + j1, head + j2


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[int, int]:
    """Return how many items both begin with, and how many of the rest both end with."""
    most = min(len(a), len(b))
    head = next((place for place in range(most) if a[place] != b[place]), most)
    tail = next((place for place in range(most - head) if a[-1 - place] != b[-1 - place]), most - head)
    return head, tail


def _ends(before: str, after: str) -> tuple[int, int]:
    """Return how many characters both begin and end with, less those of a changed word, which is shown whole."""
    head, tail = _common(before, after)
    begin = _to_blank(before[max(0, head - WORD) : head][::-1])
    end = _to_blank(before[len(before) - tail : len(before) - tail + WORD])
    return head - begin, tail - end


def _to_blank(text: str) -> int:
    """Return the number of characters before the first blank or the end of the text, or 0 if they are too many."""
    distance = next((place for place, char in enumerate(text) if char.isspace()), len(text))
    return 0 if distance == WORD else distance


def _side(text: str, start: int, end: int) -> Surroundings:
    before, after = max(0, start - CONTEXT), min(len(text), end + CONTEXT)
    return Surroundings(text[before:start], text[start:end], text[end:after], before > 0, after < len(text))
