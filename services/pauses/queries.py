"""Read pauses: lists with filters, newest first, and counts."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, literal_column, or_, select

from domain.identity.access import Principal, Role
from domain.pauses.consumption import MISSING, NEEDS_LOOK, NO_OUTCOME, ExecutionStatus
from domain.pauses.pause import AGENT, Pause, Status
from domain.values import ids
from models.pauses import pause_of, pauses
from services.kernel.pagination import SEARCHED, Listing, Page, Slice, in_namespaces, list_page
from services.kernel.tenancy import seen_namespaces, sees, within
from services.kernel.unit_of_work import Database


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of a list of pauses. `services.reviews.decided` applies those that begin with `decided`."""

    status: Status | None = None
    namespace: str | None = None
    kind: str | None = None
    tag: str | None = None
    text: str | None = None
    external_id: str | None = None
    door: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    decided: bool = False
    decided_by: str | None = None
    decided_after: datetime | None = None
    decided_before: datetime | None = None
    consumed: bool | None = None
    outcome: str | None = None

    @property
    def of_decided(self) -> bool:
        return self.decided or any((self.decided_by, self.decided_after, self.decided_before))


def list_pauses(database: Database, by: Principal, wanted: Filter, page: Page) -> Slice[Pause]:
    """Return a page of the pauses that the caller can see, newest first."""
    columns, namespaces = pauses.c, seen_namespaces(by, wanted.namespace)
    bounds, served = [*scope(by), *within(pauses, namespaces), *created_between(wanted)], Filter()
    branches, unindexed = list[Any](), list[Any]()
    if wanted.external_id is not None:
        branches, served = [columns.external_id == wanted.external_id], Filter(external_id=wanted.external_id)
        # The index has neither the namespace nor the agent, and callers may have chosen the same id many times.
        unindexed, bounds = bounds, []
    elif wanted.outcome in _UNSETTLED:
        branches = [unsettled()]
        # PostgreSQL expects many of them, and would read all pauses instead of the small index.
        few = select(columns.id).where(unsettled()).order_by(columns.id.desc()).limit(SEARCHED)
        bounds.append(columns.id.in_(few if page.after is None else few.where(columns.id < page.after)))
    elif by.role is Role.AGENT:
        branches = [columns.created_by == by.id]
    elif wanted.status == Status.PENDING:
        # The index of what waits has the priority first.
        served = Filter(status=wanted.status)
        bounds.append(columns.status == Status.PENDING.value)
        branches = [columns.priority == priority for priority in PRIORITIES]
    elif wanted.door is not None:
        branches, served = [columns.door == wanted.door], Filter(door=wanted.door)
    else:
        branches = in_namespaces(pauses, namespaces)
    listing = Listing(select(pauses), (columns.id,), branches, bounds, [*conditions(wanted, served), *unindexed])
    return list_page(database, listing, page, pause_of)


# The priorities that a pause may have.
PRIORITIES = range(10)
# The outcomes whose approvals are in the index of `unsettled`.
_UNSETTLED = (MISSING, NEEDS_LOOK, str(ExecutionStatus.UNKNOWN))
# How far the time in an id may be from `created_at`.
_ID_SLACK = timedelta(minutes=1)


def unsettled() -> Any:
    """Return the condition of the index of used approvals without a known outcome."""
    columns = pauses.c
    unknown = or_(columns.outcome_status.is_(None), columns.outcome_status == literal_column("'unknown'"))
    return and_(columns.consumed_at.is_not(None), unknown)


def created_between(wanted: Filter) -> list[Any]:
    """Return the conditions on the creation. Ids sort by time, and lead to the first and the last of these rows."""
    columns, found = pauses.c, []
    if wanted.created_after is not None:
        first = ids.uuid7(max(wanted.created_after, _FIRST) - _ID_SLACK, 0)
        found += [columns.id >= first, columns.created_at >= wanted.created_after]
    if wanted.created_before is not None:
        end = ids.uuid7(max(wanted.created_before, _FIRST) + _ID_SLACK, 0)
        found += [columns.id < end, columns.created_at < wanted.created_before]
    return found


# An id cannot hold an earlier time.
_FIRST = datetime(1971, 1, 1, tzinfo=UTC)


def scope(by: Principal) -> list[Any]:
    """Return the conditions for what the caller may see: its namespaces, and for an agent its own pauses only."""
    conditions: list[Any] = [sees(by, pauses)]
    if by.role is Role.AGENT:
        conditions.append(pauses.c.created_by == by.id)
    return conditions


def conditions(wanted: Filter, served: Filter | None = None, columns: Any = pauses.c) -> list[Any]:
    """Return the conditions of the filter, except those on namespaces, creation and decisions.

    Args:
        served: the filters that an index serves already; they are left out too.
        columns: those of a selection of pauses.
    """
    served = served or Filter()
    equal = {
        columns.status: wanted.status,
        columns.kind: wanted.kind,
        columns.external_id: wanted.external_id,
        columns.door: wanted.door,
    }
    left = {column: value for column, value in equal.items() if getattr(served, column.name) is None}
    conditions: list[Any] = [column == value for column, value in left.items() if value is not None]
    if wanted.tag is not None:
        conditions.append(columns.tags.contains([wanted.tag]))
    if wanted.text is not None:
        conditions.append(columns.action.icontains(wanted.text, autoescape=True))
    if wanted.consumed is not None:
        conditions.append(columns.consumed_at.is_not(None) if wanted.consumed else columns.consumed_at.is_(None))
    if wanted.outcome is not None:
        conditions += _with_outcome(wanted.outcome, columns)
    return conditions


def _with_outcome(outcome: str, columns: Any = pauses.c) -> list[Any]:
    used = columns.consumed_at.is_not(None)
    if outcome not in (MISSING, NEEDS_LOOK):
        return [used, columns.outcome_status == outcome]
    overdue = or_(columns.outcome_due_at.is_(None), columns.outcome_due_at <= func.clock_timestamp())
    missing = columns.outcome_status.is_(None) & overdue & columns.outcome_within.is_distinct_from(NO_OUTCOME)
    if outcome == MISSING:
        return [used, missing]
    # The page of a saga itself asks for an operator.
    return [used, columns.kind == AGENT, missing | (columns.outcome_status == ExecutionStatus.UNKNOWN)]


def count_needing_look(database: Database, by: Principal) -> int:
    """Return how many used approvals have a missing or unknown outcome."""
    query = select(func.count()).select_from(pauses).where(*scope(by), unsettled(), *_with_outcome(NEEDS_LOOK))
    with database.reading() as conn:
        return conn.execute(query).scalar_one()
