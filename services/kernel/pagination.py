"""Lists: a page of at most `limit` items, continued by offset or by cursor; newest first unless said otherwise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Column, RowMapping, Select

from services.kernel.unit_of_work import Database

Item = TypeVar("Item")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page:
    """Which items to return. `after`: the id of the last item on the page before."""

    limit: int = 50
    offset: int = 0
    after: UUID | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[Item]):
    """One page of items. `next_after` is None on the last page."""

    items: list[Item]
    page: Page
    next_after: UUID | None


def newest_first(
    database: Database, query: Select[Any], id_: Column[UUID], page: Page, item: Callable[[RowMapping], Item]
) -> Slice[Item]:
    """Return one page of the query's rows. `id_` is the column of ids, which sort by time."""
    if page.after is not None:
        query = query.where(id_ < page.after)
    query = query.order_by(id_.desc()).limit(page.limit + 1).offset(page.offset)
    with database.reading() as conn:
        rows = conn.execute(query).mappings().all()
    return slice_of(rows, page, item, lambda row: row[id_.name])


def slice_of(
    found: Sequence[Row], page: Page, item: Callable[[Row], Item], id_of: Callable[[Row], UUID]
) -> Slice[Item]:
    """Cut `found` to the page's limit. `found` has one row more than that if another page follows."""
    shown = found[: page.limit]
    next_after = id_of(shown[-1]) if len(found) > page.limit else None
    return Slice([item(row) for row in shown], page, next_after)
