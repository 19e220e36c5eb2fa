"""Use cases of pauses: create, read, list, decide, cancel, and let time run out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, RowMapping, Select, Text, any_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from domain.identity.access import Principal, Role
from domain.pauses import approval_policy
from domain.pauses.creation import Draft, check_draft, pause_from
from domain.pauses.pause import Actor, Approve, Cancel, Pause, Reject, Status, Timeout, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import pause_document
from domain.values import ids
from domain.values.errors import Forbidden, NotFound, Refusal
from models.pauses import pause_of, pauses, values
from models.records import as_records
from services.kernel.connection_pool import LOCK_NOT_AVAILABLE, state_of
from services.kernel.group_commit import Aside
from services.kernel.idempotency import Once, Repeated, recall, remember
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.quarantine import EXPIRY
from services.kernel.sweeps import sweep_pauses
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Store, Tx
from services.notifications.recipients import anyone_listens
from services.pauses.changes import apply
from services.pauses.namespaces import floor_of
from services.pauses.repository import INSERT, recorded
from services.pauses.voters import check_satisfiable
from services.webhooks.outbox import announce

# Pauses that one transaction expires: few enough to hold their locks for well under a second.
EXPIRY_BATCH = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """What begins with `decided` is for `services.reviews.decided`."""

    status: Status | None = None
    namespace: str | None = None
    kind: str | None = None
    tag: str | None = None
    text: str | None = None
    external_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    decided: bool = False
    decided_by: str | None = None
    decided_after: datetime | None = None
    decided_before: datetime | None = None

    @property
    def of_decided(self) -> bool:
        return self.decided or any((self.decided_by, self.decided_after, self.decided_before))


@dataclass(frozen=True, slots=True)
class Creation:
    """One caller's wish for a pause. `checked`: by `check_creation`."""

    by: Principal
    draft: Draft
    once: Once | None = None
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """The new pause's document; or, repeated, the stored answer to the same request before."""

    document: dict[str, Any]
    repeated: bool = False


def check_creation(store: Store, wish: Creation) -> Creation:
    """What takes long and needs no place in a transaction that others share. Raises what `create_pauses` would say."""
    draft = wish.draft
    _check_seen(wish)
    check_draft(draft, datetime.now(UTC), store.egress_allow)
    if _asks_for_more(draft):
        with store.transaction() as tx:
            floor = floor_of(store, tx, draft.namespace)
            pause = pause_from(draft, tx.new_id(), wish.by.id, tx.now, store.egress_allow, floor, checked=True)
            check_satisfiable(tx, pause)
    return replace(wish, checked=True)


def _asks_for_more(draft: Draft) -> bool:
    """Than one vote of anybody, by itself: whether that can be met takes a look at everybody."""
    return draft.review is not None and not approval_policy.parse(draft.review).plain


# Milliseconds that many wait for what one of them wants: a key that another process has not committed yet, and what
# others hold for long. Who is in the way is put aside, and waits alone as long as one may.
KEY_WAIT, SHARED_WAIT = 50, 1_000


def create_pauses(store: Store, wanted: Callable[[], Sequence[Creation]]) -> list[Created | Exception]:
    """All that is wanted by when the transaction is open, in it.

    What became of each wish, in their order: who may not, or wants nonsense, gets none; who waits is put `Aside`.
    """
    outcomes: dict[int, Created | Exception] = {}
    new: dict[int, Pause] = {}
    heard = anyone_listens(store)
    with store.transaction() as tx:
        wishes = wanted()
        if len(wishes) > 1:
            tx.waits_at_most(SHARED_WAIT)
        for place, wish in enumerate(wishes):
            try:
                new[place] = _new_pause(store, tx, wish, heard)
            except Repeated as repeated:
                outcomes[place] = Created(_as_it_is(store, tx, wishes[place].by, repeated.answer), repeated=True)
            except Refusal as refusal:
                outcomes[place] = refusal
        outcomes |= _remember(store, tx, wishes, new)
        new = {place: pause for place, pause in new.items() if place not in outcomes}
        for place, pause in new.items():
            outcomes[place] = Created(recorded(store, tx, wishes[place].by, pause))
        if new:
            rows = as_records(values(pause) for pause in new.values())
            announce(store, tx, [created(pause) for pause in new.values()], INSERT, {"records": rows})
    return [outcomes[place] for place in range(len(wishes))]


def _as_it_is(store: Store, tx: Tx, by: Principal, stored: dict[str, Any]) -> dict[str, Any]:
    """What a repeated request made, as it stands now; as it was then, where it is gone or another agent's."""
    row = tx.conn.execute(_ONE, _visible(by, str(stored["watchId"]))).mappings().one_or_none()
    return stored if row is None else pause_document(pause_of(row), store.public_url)


def _new_pause(store: Store, tx: Tx, wish: Creation, heard: bool) -> Pause:
    """Not yet stored. `heard`: somebody would be told."""
    draft = wish.draft
    _check_seen(wish)
    recall(tx, draft.namespace, wish.once)
    floor = floor_of(store, tx, draft.namespace)
    pause = pause_from(draft, tx.new_id(), wish.by.id, tx.now, store.egress_allow, floor, checked=wish.checked)
    if not (wish.checked and _asks_for_more(draft)):
        check_satisfiable(tx, pause)
    attend_at = tx.now if heard else next_at(pause)
    return pause if attend_at is None else replace(pause, attend_at=attend_at)


def _check_seen(wish: Creation) -> None:
    if not wish.by.sees(wish.draft.namespace):
        raise Forbidden(f"this key has no access to the namespace {wish.draft.namespace!r}")


def _remember(
    store: Store, tx: Tx, wishes: Sequence[Creation], new: Mapping[int, Pause]
) -> dict[int, Created | Exception]:
    """Store the answers of requests with an Idempotency-Key. Returns what became of those that make no pause: repeated
    just now; or, where a key is another's who has not committed it yet, put aside."""
    keyed = [(place, wishes[place], once) for place in new if (once := wishes[place].once) is not None]
    # In the order of their keys: two processes that wait for each other's keys would wait for ever.
    keyed.sort(key=lambda each: (each[1].draft.namespace, each[2].key))
    if not keyed:
        return {}
    found: dict[int, Created | Exception] = {}
    alone = len(wishes) == 1
    try:
        with nullcontext() if alone else tx.attempt():
            if not alone:
                tx.waits_at_most(KEY_WAIT)
            for place, wish, once in keyed:
                try:
                    pause = new[place]
                    answer = pause_document(pause, store.public_url)
                    remember(tx, wish.draft.namespace, once, answer, pause_id=pause.id)
                except Repeated as repeated:
                    found[place] = Created(_as_it_is(store, tx, wish.by, repeated.answer), repeated=True)
                except Refusal as refusal:
                    found[place] = refusal
            if not alone:
                tx.waits_at_most(SHARED_WAIT)
    except DBAPIError as error:
        if alone or state_of(error) != LOCK_NOT_AVAILABLE:
            raise
        return {place: Aside() for place, _, _ in keyed}
    return found


def get_pause(store: Store, by: Principal, watch_id: str) -> Pause:
    with store.reading() as conn:
        row = conn.execute(_ONE, _visible(by, watch_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no pause {watch_id[:64]!r} that this key may see")
    return pause_of(row)


def get_pauses(store: Store, by: Principal, wanted: Sequence[UUID]) -> list[Pause]:
    """In the order in which they are asked for; what this caller may not see is left out."""
    query = select(pauses).where(*scope(by), pauses.c.id.in_(wanted))
    with store.reading() as conn:
        found = {row["id"]: pause_of(row) for row in conn.execute(query).mappings()}
    return [found[id_] for id_ in dict.fromkeys(wanted) if id_ in found]


def list_pauses(store: Store, by: Principal, wanted: Filter, page: Page) -> Slice[Pause]:
    """Newest first."""
    query = select(pauses).where(*scope(by), *conditions(wanted))
    return newest_first(store, query, pauses.c.id, page, pause_of)


def carry_out(
    store: Store, tx: Tx, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> tuple[Pause, Pause]:
    """Return the pause before and after the command. It is locked until the transaction ends. Raises `NotFound`."""
    before = locked_pause(tx, by, watch_id)
    return before, apply(store, tx, by, before, command)


def locked_pause(tx: Tx, by: Principal, watch_id: str) -> Pause:
    """Until the transaction ends. Raises `NotFound`."""
    row = tx.conn.execute(_ONE_LOCKED, _visible(by, watch_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no pause {watch_id[:64]!r} that this key may see")
    return pause_of(row)


def actor(principal: Principal) -> Actor:
    return Actor(principal.id, principal.name)


def expire_due(store: Store) -> int:
    """Resolve pauses whose time has run out, one batch; returns how many. Other sweeps' rows are skipped."""
    due = select(pauses).where(pauses.c.status == Status.PENDING).order_by(pauses.c.expires_at)

    def chosen(tx: Tx) -> Select[Any]:
        # A value, not clock_timestamp(): with a volatile function PostgreSQL would not use the index.
        return due.where(pauses.c.expires_at <= tx.now)

    def expire(tx: Tx, row: RowMapping) -> None:
        apply(store, tx, None, pause_of(row), Timeout())

    return sweep_pauses(store, EXPIRY, chosen, EXPIRY_BATCH, expire)


def resolved_among(store: Store, waiting: Sequence[UUID]) -> list[UUID]:
    """Which of these pauses are no longer pending (or gone): the re-check behind held requests."""
    query = select(pauses.c.id).where(pauses.c.id.in_(waiting), pauses.c.status == Status.PENDING)
    with store.reading() as conn:
        pending = set(conn.execute(query).scalars())
    return [id_ for id_ in waiting if id_ not in pending]


# Built once: building a statement takes longer than running it.
_ONE = select(pauses).where(
    pauses.c.id == bindparam("pause_id"),
    or_(bindparam("sees_all", type_=Boolean), pauses.c.namespace == any_(bindparam("namespaces", type_=ARRAY(Text)))),
    or_(bindparam("only_by", type_=Text).is_(None), pauses.c.created_by == bindparam("only_by", type_=Text)),
)
# What only refers to a pause, like a message about it, need not wait for whoever decides it.
_ONE_LOCKED = _ONE.with_for_update(key_share=True)


def _visible(by: Principal, watch_id: str) -> dict[str, Any]:
    """The values for `_ONE`, in which the conditions of `scope` stand as well."""
    id_ = ids.parse(ids.WATCH, watch_id)
    if id_ is None:
        raise NotFound(f"{watch_id[:64]!r} is not the id of a pause")
    only_by = by.id if by.role is Role.AGENT else None
    return {"pause_id": id_, "sees_all": by.sees_all, "namespaces": list(by.namespaces), "only_by": only_by}


def scope(by: Principal) -> list[Any]:
    """What this caller may see: its namespaces, and an agent only its own."""
    conditions: list[Any] = [sees(by, pauses)]
    if by.role is Role.AGENT:
        conditions.append(pauses.c.created_by == by.id)
    return conditions


def conditions(wanted: Filter) -> list[Any]:
    """All but those of decisions."""
    columns = pauses.c
    asked = {
        columns.status: wanted.status,
        columns.namespace: wanted.namespace,
        columns.kind: wanted.kind,
        columns.external_id: wanted.external_id,
    }
    conditions: list[Any] = [column == value for column, value in asked.items() if value is not None]
    if wanted.tag is not None:
        conditions.append(columns.tags.contains([wanted.tag]))
    if wanted.text is not None:
        conditions.append(columns.action.icontains(wanted.text, autoescape=True))
    if wanted.created_after is not None:
        conditions.append(columns.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(columns.created_at < wanted.created_before)
    return conditions
