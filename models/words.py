"""Words out of rows that a newer release may have written."""

from enum import StrEnum
from typing import TypeVar, cast

Word = TypeVar("Word", bound=StrEnum)


def word(words: type[Word], value: str, place: str, unreadable: list[str]) -> Word:
    """The value as one of these words. One that only a newer release knows is noted; it equals none of them."""
    try:
        return words(value)
    except ValueError:
        unreadable.append(place)
        return cast("Word", value)
