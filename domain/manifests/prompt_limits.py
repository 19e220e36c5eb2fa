"""What rendering a prompt may do and make, counted before it is done: a template of some hundred characters, whose
values hold each other several times, would otherwise become gigabytes of text, or hours of comparing."""

from collections.abc import Sequence, Sized
from typing import Any

# Characters of a rendered prompt, and of any text on the way to it: what a step's values may have in all, and some
# hundred pages.
MAX_OUTPUT = 256 * 1024
# Of all texts that are made on the way: with the widest characters, 64 MiB.
MAX_TEXTS = 16 * 1024 * 1024
# Values that loops and filters look at, and hundreds of characters of texts: about a second.
MAX_WORK = 1_000_000
TEXT_UNIT = 100
_LARGE = (str, list, tuple, dict)


class PromptFailed(ValueError):
    """The prompt could not be made of these values; the message says why."""


class RenderingBudget:
    """What one rendering did so far. Each method raises `PromptFailed` once that is too much."""

    def __init__(self) -> None:
        self._units = 0
        self._characters = 0

    def spend(self, units: int) -> None:
        self._units += units
        if self._units > MAX_WORK:
            raise PromptFailed("it has too much to do with these values: loop over less")

    def look(self, value: Any) -> None:
        """At a value, not into it."""
        self.spend(units(value))

    def copy(self, value: Any) -> None:
        """Of a text or a list. A list's items are only referred to."""
        self.look(value)
        if isinstance(value, str):
            self.hold(len(value))

    def make(self, characters: int) -> None:
        """Before a text is made that may be far longer than what it is made of."""
        if characters > MAX_OUTPUT:
            raise PromptFailed(f"it makes a text longer than {MAX_OUTPUT // 1024} Ki characters of these values")
        self.spend(1 + characters // TEXT_UNIT)
        self.hold(characters)

    def go_through(self, value: Any) -> None:
        """All that is in the value, as often as it is there."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.look(item)
            waiting.extend(_large(_parts(item)))

    def write(self, value: Any, indent: int = 0) -> None:
        """The value as JSON."""
        characters, waiting = 0, [(value, 1)]
        while waiting and characters <= MAX_OUTPUT:
            item, depth = waiting.pop()
            if isinstance(item, str):
                characters += len(item)
                continue
            parts = _parts(item)
            self.spend(1 + len(parts))
            # Of each at least: a character, a comma, and the new line that it stands on.
            characters += 2 + len(parts) * (2 + indent * depth)
            waiting.extend((part, depth + 1) for part in _large(parts))
        self.make(characters)

    def hold(self, characters: int) -> None:
        """So many more in texts that are made on the way."""
        self._characters += characters
        if self._characters > MAX_TEXTS:
            raise PromptFailed("it has too much to do with these values: it makes too many long texts of them")


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else ()


def _large(parts: Sequence[Any]) -> list[Any]:
    """Those that are more than one value, or than some characters."""
    return [part for part in parts if isinstance(part, _LARGE)]


def units(value: Any) -> int:
    if isinstance(value, str):
        return 1 + len(value) // TEXT_UNIT
    return 1 + len(value) if isinstance(value, Sized) else 1
