"""Enum values of rows that a newer release may have written."""

from enum import StrEnum
from typing import TypeVar, cast

Word = TypeVar("Word", bound=StrEnum)


def word(words: type[Word], value: str, place: str, unreadable: list[str]) -> Word:
    """Return the value as a member of `words`. A value of a newer release is noted, and equals none of them."""
    try:
        return words(value)
    except ValueError:
        unreadable.append(place)
        return cast("Word", value)
