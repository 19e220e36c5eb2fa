"""Resolved pauses, the latest first."""

from typing import Any

from sqlalchemy import ColumnElement, Select, cast, func, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from domain.identity.access import Principal
from domain.pauses.pause import Pause
from models.pauses import pause_of, pauses
from services.kernel.pagination import Page, Slice, slice_of
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import Filter, conditions, scope

# In place of the id of the caller.
ME = "me"


def list_decided(database: Database, by: Principal, wanted: Filter, page: Page) -> Slice[Pause]:
    """List resolved pauses, including cancelled and expired ones."""
    columns = pauses.c
    found = [*scope(by), *conditions(wanted), columns.resolved_at.is_not(None)]
    if wanted.decided_by is not None:
        found.append(_voted(by.id if wanted.decided_by == ME else wanted.decided_by))
    if wanted.decided_after is not None:
        found.append(columns.resolved_at >= wanted.decided_after)
    if wanted.decided_before is not None:
        found.append(columns.resolved_at < wanted.decided_before)
    query = _cut(select(pauses).where(*found), by, page)
    with database.reading() as conn:
        rows = conn.execute(query).mappings().all()
    return slice_of(rows, page, pause_of, lambda row: row["id"])


def _voted(who: str) -> ColumnElement[bool]:
    """Return a condition: this person decided or voted. `who`: an id, or a whole name in any case."""
    columns = pauses.c
    # Votes are kept only where a policy asks for several.
    several = cast(columns.votes, JSONB).contains([{"by": {"id": who}}])
    return or_(columns.decided_by == who, func.lower(columns.decided_by_name) == who.lower(), several)


def _cut(query: Select[Any], by: Principal, page: Page) -> Select[Any]:
    columns = pauses.c
    if page.after is not None:
        # A sweep resolves many pauses at the same instant, so the id is part of the order.
        last = select(columns.resolved_at).where(columns.id == page.after, *scope(by)).scalar_subquery()
        query = query.where(tuple_(columns.resolved_at, columns.id) < tuple_(last, literal(page.after)))
    order = columns.resolved_at.desc(), columns.id.desc()
    return query.order_by(*order).limit(page.limit + 1).offset(page.offset)
