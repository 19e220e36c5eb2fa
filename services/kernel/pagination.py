"""Lists: a page of at most `limit` items, continued by offset or by cursor; newest first unless said otherwise.

A page never reads more than `SEARCHED` rows in the order of the list. If these have too few matches, the page is short
or empty, and its cursor continues after them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, Select, Table, select, true, tuple_, union_all

from services.kernel.unit_of_work import Database

Item = TypeVar("Item")
Row = TypeVar("Row")

# Rows that one page reads to find its matches. Reading more would delay other requests.
SEARCHED = 2_000


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


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of a list, the newest first.

    Attributes:
        query: selects the rows, without any condition.
        order: the columns of the order, all descending; the last one identifies a row.
        branches: alternative conditions. An index has the rows of each branch in this order.
        conditions: further conditions that an index can check.
        filters: conditions that only the row itself can check.
        searched: how many rows one page may read; None means `SEARCHED`.
    """

    query: Select[Any]
    order: tuple[Column[Any], ...]
    branches: Sequence[ColumnElement[bool]]
    conditions: Sequence[ColumnElement[bool]] = ()
    filters: Sequence[ColumnElement[bool]] = ()
    searched: int | None = None


def list_page(
    database: Database, listing: Listing, page: Page, item: Callable[[RowMapping], Item], after: Any = None
) -> Slice[Item]:
    """Return one page. `after`: the place in the order of the row at `page.after`, if that is not the cursor itself."""
    with database.reading() as conn:
        return page_of(conn, listing, page, item, after)


def page_of(
    conn: Connection, listing: Listing, page: Page, item: Callable[[RowMapping], Item], after: Any = None
) -> Slice[Item]:
    """Return one page as `list_page` does, read on this connection."""
    if not listing.branches:
        return Slice([], page, None)
    place, id_ = tuple_(*listing.order), listing.order[-1]
    conditions = list(listing.conditions)
    if page.after is not None:
        conditions.append(place < (tuple_(page.after) if after is None else after))
    last = _last_searched(conn, listing, conditions, page.offset) if listing.filters else None
    if last is not None:
        conditions.append(place >= tuple_(*last))
    rows_of = _merged(listing, listing.query, [*conditions, *listing.filters], page.limit + 1 + page.offset)
    rows = conn.execute(rows_of.offset(page.offset).limit(page.limit + 1)).mappings().all()
    found = slice_of(rows, page, item, lambda row: _cursor(row[id_.name]))
    if found.next_after is not None or last is None:
        return found
    return Slice(found.items, page, _cursor(last[-1]))


def _cursor(value: UUID | int) -> UUID:
    return value if isinstance(value, UUID) else UUID(int=value)


def _last_searched(
    conn: Connection, listing: Listing, conditions: Sequence[ColumnElement[bool]], offset: int
) -> tuple[Any, ...] | None:
    """Return the place of the last row that the page may read; None if fewer rows follow the cursor."""
    number = (listing.searched or SEARCHED) + offset
    places = _merged(listing, select(*listing.order), conditions, number)
    row = conn.execute(places.offset(number - 1).limit(1)).one_or_none()
    return None if row is None else tuple(row)


def _merged(listing: Listing, query: Select[Any], conditions: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    """Select the rows of all branches in order. Each branch is limited, so that PostgreSQL reads it by its index."""
    order = [column.desc() for column in listing.order]
    if len(listing.branches) == 1:
        return query.where(listing.branches[0], *conditions).order_by(*order)
    each = [query.where(branch, *conditions).order_by(*order).limit(limit) for branch in listing.branches]
    merged = union_all(*each).subquery()
    return select(merged).order_by(*(merged.c[column.name].desc() for column in listing.order))


def in_namespaces(table: Table, namespaces: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Return one branch for each namespace; None means all of them, in one branch."""
    if namespaces is None:
        return [true()]
    return [table.c.namespace == namespace for namespace in namespaces]


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
