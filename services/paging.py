"""Lists: a page of at most `limit` items, newest first, continued by offset or by cursor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Column, RowMapping, Select

from services.transaction import Store

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


def newest_first(
    store: Store, query: Select[Any], id_: Column[UUID], page: Page, item: Callable[[RowMapping], Item]
) -> Slice[Item]:
    """The page of what `query` finds; `id_` is the column of ids, which sort by time."""
    if page.after is not None:
        query = query.where(id_ < page.after)
    # One more than asked for: that one is only a sign that there are more.
    query = query.order_by(id_.desc()).limit(page.limit + 1).offset(page.offset)
    with store.reading() as conn:
        rows = conn.execute(query).mappings().all()
    shown = rows[: page.limit]
    return Slice([item(row) for row in shown], page, shown[-1][id_.name] if len(rows) > page.limit else None)
