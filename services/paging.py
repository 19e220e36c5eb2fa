"""Lists: a page of at most `limit` items, newest first, continued by offset or by cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """`after`: the id of the last item that was seen."""

    limit: int = 50
    offset: int = 0
    after: UUID | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[Item]):
    """`next_after` is None on the last page."""

    items: list[Item]
    page: Page
    next_after: UUID | None


def cut(found: Sequence[Item], page: Page, id_of: Callable[[Item], UUID]) -> Slice[Item]:
    """`found` is one more than the limit when there are more: that one is only a sign."""
    items = list(found[: page.limit])
    more = len(found) > page.limit
    return Slice(items, page, id_of(items[-1]) if more else None)
