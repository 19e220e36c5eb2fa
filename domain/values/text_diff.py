"""Where two long texts differ: each such place with some words around it, so that nobody has to look for it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Any

# Characters that are shown around a place, and how far off the edge of a word may be to begin or end there.
CONTEXT, WORD = 80, 40
# More lines than these, without what both texts begin and end with, are one place: to compare all with all takes time.
MAX_LINES = 2_000

# Characters and lines of a text of which an edit is shown in its places only; places of one text.
SHORT, LINES = 400, 12
MAX_PASSAGES = 20

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`leads`, `trails`: the text has more than that before and after."""

    before: str
    text: str
    after: str
    leads: bool
    trails: bool


@dataclass(frozen=True, slots=True)
class ChangedPassage:
    """`line`: of the old text, from 1."""

    line: int
    old: Surroundings
    new: Surroundings


@dataclass(frozen=True, slots=True)
class Differences:
    """`shown`: none where the two values are best shown side by side. `left_out`: how many more there are."""

    shown: tuple[ChangedPassage, ...] = ()
    left_out: int = 0


def places(old: Any, new: Any) -> Differences:
    """Of a long text that is another now: both begin alike, mostly, and nobody finds the word that is changed."""
    if not (isinstance(old, str) and isinstance(new, str)) or not (_long(old) or _long(new)):
        return Differences()
    found = tuple(passages(old, new))
    return Differences(found[:MAX_PASSAGES], max(0, len(found) - MAX_PASSAGES))


def _long(text: str) -> bool:
    return len(text) > SHORT or text.count("\n") >= LINES


def passages(old: str, new: str) -> Iterator[ChangedPassage]:
    """In order; none for texts that are the same."""
    lines, others = _LINE.findall(old), _LINE.findall(new)
    starts, other_starts = _starts(lines), _starts(others)
    for i1, i2, j1, j2 in _runs(lines, others):
        was, becomes = old[starts[i1] : starts[i2]], new[other_starts[j1] : other_starts[j2]]
        head, tail = _ends(was, becomes)
        yield ChangedPassage(
            i1 + 1 + was.count("\n", 0, head),
            _side(old, starts[i1] + head, starts[i2] - tail),
            _side(new, other_starts[j1] + head, other_starts[j2] - tail),
        )


def _starts(lines: Sequence[str]) -> list[int]:
    return list(accumulate(map(len, lines), initial=0))


def _runs(a: list[str], b: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of lines that are others: from where to where in each of the two."""
    head, tail = _common(a, b)
    a, b = a[head : len(a) - tail], b[head : len(b) - tail]
    if max(len(a), len(b)) > MAX_LINES:
        yield head, head + len(a), head, head + len(b)
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b).get_opcodes():
        if tag != "equal":
            yield head + i1, head + i2, head + j1, head + j2


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[int, int]:
    """How many both begin with, and how many of the rest both end with."""
    most = min(len(a), len(b))
    head = next((place for place in range(most) if a[place] != b[place]), most)
    tail = next((place for place in range(most - head) if a[-1 - place] != b[-1 - place]), most - head)
    return head, tail


def _ends(was: str, becomes: str) -> tuple[int, int]:
    """The same of characters; a word that is changed is shown whole."""
    head, tail = _common(was, becomes)
    begin = _to_blank(was[max(0, head - WORD) : head][::-1])
    end = _to_blank(was[len(was) - tail : len(was) - tail + WORD])
    return head - begin, tail - end


def _to_blank(text: str) -> int:
    """How many characters stand before the first blank, or the end of a short text; 0 where that is too far."""
    there = next((place for place, char in enumerate(text) if char.isspace()), len(text))
    return 0 if there == WORD else there


def _side(text: str, start: int, end: int) -> Surroundings:
    before, after = max(0, start - CONTEXT), min(len(text), end + CONTEXT)
    return Surroundings(text[before:start], text[start:end], text[end:after], before > 0, after < len(text))
