"""Resolved pauses, the latest first."""

from sqlalchemy import ColumnElement, cast, func, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from domain.identity.access import Principal, Role
from domain.pauses.pause import Pause
from models.pauses import pause_of, pauses
from services.kernel.pagination import Listing, Page, Slice, in_namespaces, list_page
from services.kernel.tenancy import seen_namespaces
from services.kernel.unit_of_work import Database
from services.pauses.queries import Filter, conditions, created_between, scope

# In place of the id of the caller.
ME = "me"


def list_decided(database: Database, by: Principal, wanted: Filter, page: Page) -> Slice[Pause]:
    """List resolved pauses, including cancelled and expired ones."""
    columns = pauses.c
    bounds: list[ColumnElement[bool]] = [columns.resolved_at.is_not(None)]
    if wanted.decided_after is not None:
        bounds.append(columns.resolved_at >= wanted.decided_after)
    if wanted.decided_before is not None:
        bounds.append(columns.resolved_at < wanted.decided_before)
    filters = [*conditions(wanted), *created_between(wanted)]
    if by.role is Role.AGENT:
        filters.append(columns.created_by == by.id)
    if wanted.decided_by is not None:
        filters.append(_voted(by.id if wanted.decided_by == ME else wanted.decided_by))
    branches = in_namespaces(pauses, seen_namespaces(by, wanted.namespace))
    # A sweep resolves many pauses at the same instant, so the id is part of the order.
    listing = Listing(select(pauses), (columns.resolved_at, columns.id), branches, bounds, filters)
    last = select(columns.resolved_at).where(columns.id == page.after, *scope(by)).scalar_subquery()
    return list_page(database, listing, page, pause_of, tuple_(last, literal(page.after)))


def _voted(who: str) -> ColumnElement[bool]:
    """Return a condition: this person decided or voted. `who`: an id, or a whole name in any case."""
    columns = pauses.c
    # Votes are kept only where a policy asks for several.
    several = cast(columns.votes, JSONB).contains([{"by": {"id": who}}])
    return or_(columns.decided_by == who, func.lower(columns.decided_by_name) == who.lower(), several)
