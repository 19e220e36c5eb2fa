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
from domain.pauses.creation import PauseRequest, check_request, pause_from
from domain.pauses.pause import Actor, Approve, Cancel, Pause, Reject, Status, Timeout, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import pause_document
from domain.values import ids
from domain.values.errors import DomainError, Forbidden, NotFound
from models.pauses import pause_of, pauses, values
from models.records import as_records
from services.kernel.connection_pool import LOCK_NOT_AVAILABLE, state_of
from services.kernel.group_commit import Aside
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.quarantine import EXPIRY
from services.kernel.sweeps import sweep_pauses
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import any_channel_exists
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
class CreateRequest:
    """One caller's wish for a pause. `checked`: by `check_creation`."""

    by: Principal
    draft: PauseRequest
    once: IdempotentRequest | None = None
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """The new pause's document; or, repeated, the stored answer to the same request before."""

    document: dict[str, Any]
    repeated: bool = False


def check_creation(database: Database, request: CreateRequest) -> CreateRequest:
    """What takes long and needs no place in a transaction that others share. Raises what `create_pauses` would say."""
    draft = request.draft
    _check_seen(request)
    check_request(draft, datetime.now(UTC), database.egress_allow)
    if _asks_for_more(draft):
        with database.transaction() as uow:
            floor = floor_of(database, uow, draft.namespace)
            pause = pause_from(draft, uow.new_id(), request.by.id, uow.now, database.egress_allow, floor, checked=True)
            check_satisfiable(uow, pause)
    return replace(request, checked=True)


def _asks_for_more(draft: PauseRequest) -> bool:
    """Than one vote of anybody, by itself: whether that can be met takes a look at everybody."""
    return draft.review is not None and not approval_policy.parse(draft.review).plain


# Milliseconds that many wait for what one of them wants: a key that another process has not committed yet, and what
# others hold for long. Who is in the way is put aside, and waits alone as long as one may.
KEY_WAIT, SHARED_WAIT = 50, 1_000


def create_pauses(database: Database, wanted: Callable[[], Sequence[CreateRequest]]) -> list[Created | Exception]:
    """All that is wanted by when the transaction is open, in it.

    What became of each wish, in their order: who may not, or wants nonsense, gets none; who waits is put `Aside`.
    """
    outcomes: dict[int, Created | Exception] = {}
    new: dict[int, Pause] = {}
    heard = any_channel_exists(database)
    with database.transaction() as uow:
        requests = wanted()
        if len(requests) > 1:
            uow.set_lock_timeout(SHARED_WAIT)
        for place, request in enumerate(requests):
            try:
                new[place] = _new_pause(database, uow, request, heard)
            except RepeatedRequest as repeated:
                outcomes[place] = Created(_as_it_is(database, uow, requests[place].by, repeated.answer), repeated=True)
            except DomainError as domain_error:
                outcomes[place] = domain_error
        outcomes |= _remember(database, uow, requests, new)
        new = {place: pause for place, pause in new.items() if place not in outcomes}
        for place, pause in new.items():
            outcomes[place] = Created(recorded(database, uow, requests[place].by, pause))
        if new:
            rows = as_records(values(pause) for pause in new.values())
            announce(database, uow, [created(pause) for pause in new.values()], INSERT, {"records": rows})
    return [outcomes[place] for place in range(len(requests))]


def _as_it_is(database: Database, uow: UnitOfWork, by: Principal, stored: dict[str, Any]) -> dict[str, Any]:
    """What a repeated request made, as it stands now; as it was then, where it is gone or another agent's."""
    row = uow.conn.execute(_ONE, _visible(by, str(stored["watchId"]))).mappings().one_or_none()
    return stored if row is None else pause_document(pause_of(row), database.public_url)


def _new_pause(database: Database, uow: UnitOfWork, request: CreateRequest, heard: bool) -> Pause:
    """Not yet stored. `heard`: somebody would be told."""
    draft = request.draft
    _check_seen(request)
    get_response(uow, draft.namespace, request.once)
    floor = floor_of(database, uow, draft.namespace)
    pause = pause_from(
        draft, uow.new_id(), request.by.id, uow.now, database.egress_allow, floor, checked=request.checked
    )
    if not (request.checked and _asks_for_more(draft)):
        check_satisfiable(uow, pause)
    attend_at = uow.now if heard else next_at(pause)
    return pause if attend_at is None else replace(pause, attend_at=attend_at)


def _check_seen(request: CreateRequest) -> None:
    if not request.by.sees(request.draft.namespace):
        raise Forbidden(f"this key has no access to the namespace {request.draft.namespace!r}")


def _remember(
    database: Database, uow: UnitOfWork, requests: Sequence[CreateRequest], new: Mapping[int, Pause]
) -> dict[int, Created | Exception]:
    """Store the answers of requests with an Idempotency-Key. Returns what became of those that make no pause: repeated
    just now; or, where a key is another's who has not committed it yet, put aside."""
    keyed = [(place, requests[place], once) for place in new if (once := requests[place].once) is not None]
    # In the order of their keys: two processes that wait for each other's keys would wait for ever.
    keyed.sort(key=lambda each: (each[1].draft.namespace, each[2].key))
    if not keyed:
        return {}
    found: dict[int, Created | Exception] = {}
    alone = len(requests) == 1
    try:
        with nullcontext() if alone else uow.attempt():
            if not alone:
                uow.set_lock_timeout(KEY_WAIT)
            for place, request, once in keyed:
                try:
                    pause = new[place]
                    answer = pause_document(pause, database.public_url)
                    store_response(uow, request.draft.namespace, once, answer, pause_id=pause.id)
                except RepeatedRequest as repeated:
                    found[place] = Created(_as_it_is(database, uow, request.by, repeated.answer), repeated=True)
                except DomainError as domain_error:
                    found[place] = domain_error
            if not alone:
                uow.set_lock_timeout(SHARED_WAIT)
    except DBAPIError as error:
        if alone or state_of(error) != LOCK_NOT_AVAILABLE:
            raise
        return {place: Aside() for place, _, _ in keyed}
    return found


def get_pause(database: Database, by: Principal, watch_id: str) -> Pause:
    with database.reading() as conn:
        row = conn.execute(_ONE, _visible(by, watch_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no pause {watch_id[:64]!r} that this key may see")
    return pause_of(row)


def get_pauses(database: Database, by: Principal, wanted: Sequence[UUID]) -> list[Pause]:
    """In the order in which they are asked for; what this caller may not see is left out."""
    query = select(pauses).where(*scope(by), pauses.c.id.in_(wanted))
    with database.reading() as conn:
        found = {row["id"]: pause_of(row) for row in conn.execute(query).mappings()}
    return [found[id_] for id_ in dict.fromkeys(wanted) if id_ in found]


def list_pauses(database: Database, by: Principal, wanted: Filter, page: Page) -> Slice[Pause]:
    """Newest first."""
    query = select(pauses).where(*scope(by), *conditions(wanted))
    return newest_first(database, query, pauses.c.id, page, pause_of)


def carry_out(
    database: Database, uow: UnitOfWork, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> tuple[Pause, Pause]:
    """Return the pause before and after the command. It is locked until the transaction ends. Raises `NotFound`."""
    before = locked_pause(uow, by, watch_id)
    return before, apply(database, uow, by, before, command)


def locked_pause(uow: UnitOfWork, by: Principal, watch_id: str) -> Pause:
    """Until the transaction ends. Raises `NotFound`."""
    row = uow.conn.execute(_ONE_LOCKED, _visible(by, watch_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no pause {watch_id[:64]!r} that this key may see")
    return pause_of(row)


def actor(principal: Principal) -> Actor:
    return Actor(principal.id, principal.name)


def expire_due(database: Database) -> int:
    """Resolve pauses whose time has run out, one batch; returns how many. Other sweeps' rows are skipped."""
    due = select(pauses).where(pauses.c.status == Status.PENDING).order_by(pauses.c.expires_at)

    def chosen(uow: UnitOfWork) -> Select[Any]:
        # A value, not clock_timestamp(): with a volatile function PostgreSQL would not use the index.
        return due.where(pauses.c.expires_at <= uow.now)

    def expire(uow: UnitOfWork, row: RowMapping) -> None:
        apply(database, uow, None, pause_of(row), Timeout())

    return sweep_pauses(database, EXPIRY, chosen, EXPIRY_BATCH, expire)


def resolved_among(database: Database, waiting: Sequence[UUID]) -> list[UUID]:
    """Which of these pauses are no longer pending (or gone): the re-check behind held requests."""
    query = select(pauses.c.id).where(pauses.c.id.in_(waiting), pauses.c.status == Status.PENDING)
    with database.reading() as conn:
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
