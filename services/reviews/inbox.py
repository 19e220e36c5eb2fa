"""The review queue: pending pauses, the most urgent first, then the longest waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import array

from domain.identity.access import Permission, Principal
from domain.pauses.approval_policy import VoterSelection
from domain.pauses.pause import Actor, Pause, Status, eligible_voters
from domain.pauses.serialization import pause_document
from domain.pauses.votes import Voter, current_vote, voter_for
from domain.values import ids
from models.pauses import pause_of, pauses
from models.people import users
from services.kernel.pagination import Page, Slice, slice_of
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database


@dataclass(frozen=True, slots=True)
class InboxFilter:
    """Which pauses to list. `mine`: only those on which the caller may vote now, for themselves or as a delegate."""

    namespace: str | None = None
    kind: str | None = None
    tag: str | None = None
    text: str | None = None
    door: str | None = None
    mine: bool = False


def inbox(database: Database, by: Principal, wanted: InboxFilter, page: Page) -> Slice[dict[str, Any]]:
    """List pending pauses, a page of documents."""
    query = select(pauses).where(*_conditions(database, by, wanted))
    with database.reading() as conn:
        rows = conn.execute(_cut(query, by, page)).mappings().all()

    def item(row: RowMapping) -> dict[str, Any]:
        return pause_document(pause_of(row), database.public_url)

    return slice_of(rows, page, item, lambda row: row["id"])


def count_waiting(database: Database, by: Principal, wanted: InboxFilter, limit: int = 100) -> int:
    """Count pending pauses, at most `limit`."""
    found = select(pauses.c.id).where(*_conditions(database, by, wanted)).limit(limit).subquery()
    with database.reading() as conn:
        return int(conn.execute(select(func.count()).select_from(found)).scalar_one())


def stands_in_for(database: Database, by: Principal) -> tuple[Voter, ...]:
    """Return the people who are away and whose delegate the caller is."""
    id_ = ids.parse(ids.USER, by.id)
    if id_ is None:
        return ()
    query = select(users.c.id, users.c.name, users.c.email, users.c.groups).where(
        users.c.delegate_id == id_, users.c.away_until > func.clock_timestamp(), users.c.disabled_at.is_(None)
    )
    with database.reading() as conn:
        rows = conn.execute(query).mappings().all()
    return tuple(
        Voter(ids.text(ids.USER, row["id"]), row["name"], row["email"], tuple(row["groups"]), delegate=by.id)
        for row in rows
    )


def may_vote(pause: Pause, by: Principal, stood_in_for: Sequence[Voter] = ()) -> bool:
    """Return whether the caller may vote now, to show the buttons. The vote itself is checked again."""
    if pause.status is not Status.PENDING or not by.may(Permission.PAUSE_DECIDE) or not by.sees(pause.namespace):
        return False
    if pause.is_own(by.id):
        return False
    voters = eligible_voters(pause, (_member(by), *stood_in_for))
    return any(voters.of(pause.review.stages[pause.stage]))


def votes_for(pause: Pause, by: Principal, stood_in_for: Sequence[Voter]) -> Actor | None:
    """Return the absent person for whom the caller would vote, or None for the caller's own vote."""
    if pause.review.plain or current_vote(pause.votes, by.id) is not None:
        return None
    voters = eligible_voters(pause, (_member(by), *stood_in_for))
    owner = voter_for(voters, pause.review.stages[pause.stage], pause.votes, by.id)
    return None if owner is None or owner.id == by.id else owner.actor


def _conditions(database: Database, by: Principal, wanted: InboxFilter) -> list[ColumnElement[bool]]:
    columns = pauses.c
    # A literal, because the planner uses the partial index on pending pauses only for a known value.
    conditions: list[ColumnElement[bool]] = [columns.status == Status.PENDING.value, sees(by, pauses)]
    if wanted.namespace is not None:
        conditions.append(columns.namespace == wanted.namespace)
    if wanted.kind is not None:
        conditions.append(columns.kind == wanted.kind)
    if wanted.door is not None:
        conditions.append(columns.door == wanted.door)
    if wanted.tag is not None:
        conditions.append(columns.tags.contains([wanted.tag]))
    if wanted.text is not None:
        conditions.append(columns.action.icontains(wanted.text, autoescape=True))
    if wanted.mine:
        conditions.append(_mine(database, by))
    return conditions


def _mine(database: Database, by: Principal) -> ColumnElement[bool]:
    words = sorted({word for one in (_member(by), *stands_in_for(database, by)) for word in _words(one)})
    asked = or_(pauses.c.asked.is_(None), pauses.c.asked.overlap(array(words)))
    return and_(asked, or_(pauses.c.created_by != by.id, pauses.c.review["allow_self"].as_boolean()))


def _member(by: Principal) -> Voter:
    return Voter(by.id, by.name, by.email, by.groups)


def _words(member: Voter) -> list[str]:
    """Return the words by which `asked` names the member."""
    addresses = [member.id] if member.email is None else [member.id, member.email]
    return VoterSelection(member.groups, tuple(addresses)).words


def _cut(query: Select[Any], by: Principal, page: Page) -> Select[Any]:
    """Cut the page, in the order of the queue, which is that of the index.

    The rows after the cursor are selected in two parts: those of the same priority, and those of a lower one. A single
    condition would read all rows before the cursor. The pause of the cursor may have been resolved since.
    """
    order = pauses.c.priority.desc(), pauses.c.id
    if page.after is None:
        return query.order_by(*order).limit(page.limit + 1).offset(page.offset)
    # A cursor of another namespace must not reveal that its pause exists, or how urgent it is.
    last = select(pauses.c.priority).where(pauses.c.id == page.after, sees(by, pauses)).scalar_subquery()
    behind = (pauses.c.priority == last) & (pauses.c.id > page.after), pauses.c.priority < last
    most = page.limit + 1 + page.offset
    both = union_all(*(query.where(part).order_by(*order).limit(most) for part in behind)).subquery()
    found = select(both).order_by(both.c.priority.desc(), both.c.id)
    return found.limit(page.limit + 1).offset(page.offset)
