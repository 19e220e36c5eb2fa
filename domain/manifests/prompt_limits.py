"""The limits on rendering a prompt, counted before each operation.

Without them, a template of some hundred characters could make gigabytes of text, or compare for hours, if its values
contain each other several times.
"""

from collections.abc import Sequence, Sized
from typing import Any

# Characters of a rendered prompt and of any intermediate text: the limit of a step's values, or some hundred pages.
MAX_OUTPUT = 256 * 1024
# Characters of all intermediate texts: 64 MiB with the widest characters.
MAX_TEXTS = 16 * 1024 * 1024
# Values that loops and filters visit, and hundreds of characters of texts: about a second.
MAX_WORK = 1_000_000
TEXT_UNIT = 100
_LARGE = (str, list, tuple, dict)


class PromptFailed(ValueError):
    """The prompt could not be rendered with these values. The message has the reason."""


class RenderingBudget:
    """The work of one rendering so far. Each method raises `PromptFailed` when it exceeds a limit."""

    def __init__(self) -> None:
        self._units = 0
        self._characters = 0

    def spend(self, units: int) -> None:
        self._units += units
        if self._units > MAX_WORK:
            raise PromptFailed("it does too much work with these values: loop over fewer of them")

    def look(self, value: Any) -> None:
        """Count a visit to a value, but not to its parts."""
        self.spend(units(value))

    def copy(self, value: Any) -> None:
        """Count the copy of a text or a list. The items of a list are not copied."""
        self.look(value)
        if isinstance(value, str):
            self.hold(len(value))

    def make(self, characters: int) -> None:
        """Count a text before it is made, because it may be far longer than its sources."""
        if characters > MAX_OUTPUT:
            raise PromptFailed(f"it makes a text of more than {MAX_OUTPUT // 1024} Ki characters: use shorter values")
        self.spend(1 + characters // TEXT_UNIT)
        self.hold(characters)

    def go_through(self, value: Any) -> None:
        """Count everything in the value, each part as often as it occurs."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.look(item)
            waiting.extend(_large(_parts(item)))

    def write(self, value: Any, indent: int = 0) -> None:
        """Count the text of the value as JSON."""
        characters, waiting = 0, [(value, 1)]
        while waiting and characters <= MAX_OUTPUT:
            item, depth = waiting.pop()
            if isinstance(item, str):
                characters += len(item)
                continue
            parts = _parts(item)
            self.spend(1 + len(parts))
            # Each part takes at least a character, a comma, and its line break with indentation.
            characters += 2 + len(parts) * (2 + indent * depth)
            waiting.extend((part, depth + 1) for part in _large(parts))
        self.make(characters)

    def hold(self, characters: int) -> None:
        """Count further characters of intermediate texts."""
        self._characters += characters
        if self._characters > MAX_TEXTS:
            raise PromptFailed("it makes too many long texts of these values: use fewer or shorter ones")


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else ()


def _large(parts: Sequence[Any]) -> list[Any]:
    """Return the parts that may count as more than one value or some characters."""
    return [part for part in parts if isinstance(part, _LARGE)]


def units(value: Any) -> int:
    if isinstance(value, str):
        return 1 + len(value) // TEXT_UNIT
    return 1 + len(value) if isinstance(value, Sized) else 1
