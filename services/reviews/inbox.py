"""The review queue: pending pauses, the most urgent first, then the longest waiting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import array

from domain.identity.access import Permission, Principal
from domain.pauses.approval_policy import VoterSelection
from domain.pauses.pause import Actor, Pause, Status, eligible_voters
from domain.pauses.serialization import pause_document
from domain.pauses.votes import Voter, current_vote, voter_for
from domain.values import ids
from models.pauses import pause_of, pauses
from models.people import users
from services.kernel.pagination import SEARCHED, Page, Slice, slice_of
from services.kernel.tenancy import seen_namespaces, sees, within
from services.kernel.unit_of_work import Database
from services.pauses.queries import Filter, conditions

# The rows of the queue that are searched first.
FEW = 200


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
    checks, queue = _row_checks(database, by, wanted), _waiting(by, wanted)
    filtered = bool(checks(pauses.c))
    last = None
    with database.reading() as conn:
        # Few rows are usually enough, and PostgreSQL then reads no more than it needs.
        for searched in (FEW, SEARCHED) if filtered else (page.limit + 1,):
            read = _cut(queue, by, page, searched + page.offset).subquery("read")
            found = select(read).where(*checks(read.c)).order_by(read.c.priority.desc(), read.c.id)
            rows = conn.execute(found.limit(page.limit + 1).offset(page.offset)).mappings().all()
            if len(rows) > page.limit:
                break
        else:
            if filtered:
                place = _cut(queue, by, page, SEARCHED + page.offset).subquery("place")
                ordered = select(place.c.id).order_by(place.c.priority.desc(), place.c.id)
                last = conn.execute(ordered.offset(SEARCHED + page.offset - 1)).scalar_one_or_none()

    def item(row: RowMapping) -> dict[str, Any]:
        return pause_document(pause_of(row), database.public_url)

    part = slice_of(rows, page, item, lambda row: row["id"])
    return replace(part, next_after=part.next_after or last)


def count_waiting(database: Database, by: Principal, wanted: InboxFilter, limit: int = 100) -> int:
    """Count pending pauses, at most `limit`, among the first `SEARCHED` of the queue."""
    checks = _row_checks(database, by, wanted)
    queue = _waiting(by, wanted).order_by(pauses.c.priority.desc(), pauses.c.id)
    read = queue.limit(SEARCHED if checks(pauses.c) else limit).subquery("read")
    found = select(read.c.id).where(*checks(read.c)).limit(limit).subquery()
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


def _waiting(by: Principal, wanted: InboxFilter) -> Select[Any]:
    """Select the queue of the namespaces that the caller sees: the index has its order and the namespaces."""
    # A literal, because the planner uses the partial index on pending pauses only for a known value.
    pending = pauses.c.status == Status.PENDING.value
    return select(pauses).where(pending, *within(pauses, seen_namespaces(by, wanted.namespace)))


def _row_checks(database: Database, by: Principal, wanted: InboxFilter) -> Callable[[Any], list[ColumnElement[bool]]]:
    """Return the conditions that only a row itself can check, as a function of the columns."""
    wished = Filter(kind=wanted.kind, door=wanted.door, tag=wanted.tag, text=wanted.text)
    voters = (_member(by), *stands_in_for(database, by)) if wanted.mine else ()
    words = sorted({word for voter in voters for word in _words(voter)})

    def checks(columns: Any) -> list[ColumnElement[bool]]:
        found = conditions(wished, columns=columns)
        if wanted.mine:
            found.append(or_(columns.asked.is_(None), columns.asked.overlap(array(words))))
            found.append(or_(columns.created_by != by.id, columns.review["allow_self"].as_boolean()))
        return found

    return checks


def _member(by: Principal) -> Voter:
    return Voter(by.id, by.name, by.email, by.groups)


def _words(member: Voter) -> list[str]:
    """Return the words by which `asked` names the member."""
    addresses = [member.id] if member.email is None else [member.id, member.email]
    return VoterSelection(member.groups, tuple(addresses)).words


def _cut(query: Select[Any], by: Principal, page: Page, most: int) -> Select[Any]:
    """Cut the first `most` rows of the page and what follows it, in the order of the queue, which is that of the index.

    The rows after the cursor are selected in two parts: those of the same priority, and those of a lower one. A single
    condition would read all rows before the cursor. The pause of the cursor may have been resolved since.
    """
    order = pauses.c.priority.desc(), pauses.c.id
    if page.after is None:
        return query.order_by(*order).limit(most)
    # A cursor of another namespace must not reveal that its pause exists, or how urgent it is.
    last = select(pauses.c.priority).where(pauses.c.id == page.after, sees(by, pauses)).scalar_subquery()
    behind = (pauses.c.priority == last) & (pauses.c.id > page.after), pauses.c.priority < last
    both = union_all(*(query.where(part).order_by(*order).limit(most) for part in behind)).subquery()
    return select(both).order_by(both.c.priority.desc(), both.c.id).limit(most)
