"""Use cases of pauses: create, read, list, lock and expire them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, RowMapping, Select, Text, Uuid, any_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from domain.identity.access import Principal, Role
from domain.pauses import approval_policy
from domain.pauses.creation import PauseRequest, check_request, pause_from
from domain.pauses.pause import Actor, Pause, Status, Timeout, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import RenderedEvent, pause_document, pause_id, render_event
from domain.values import ids
from domain.values.errors import DomainError, Forbidden, NotFound
from models.pauses import pause_of, pauses, values
from models.records import as_records
from services.kernel.connection_pool import LOCK_NOT_AVAILABLE, state_of
from services.kernel.group_commit import Aside
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.quarantine import EXPIRY
from services.kernel.sweeps import sweep_pauses
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import any_channel_exists
from services.pauses.changes import apply
from services.pauses.namespaces import read_floor
from services.pauses.queries import scope
from services.pauses.repository import INSERT, record_created
from services.pauses.voters import check_satisfiable
from services.webhooks.outbox import announce

# One transaction expires at most this many pauses, so that it holds their locks for well under a second.
EXPIRY_BATCH = 200


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """One caller's request for a pause. `checked`: `check_creation` has passed."""

    by: Principal
    pause: PauseRequest
    idempotency: IdempotentRequest | None = None
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """The document of the new pause; for a repeated request, of the pause that the first one created."""

    document: dict[str, Any]
    repeated: bool = False


def check_creation(database: Database, request: CreateRequest) -> CreateRequest:
    """Run the slow checks of `create_pauses` before the shared transaction. Raise the same errors."""
    wanted = request.pause
    _check_visible(request)
    check_request(wanted, datetime.now(UTC), database.egress_allow)
    if _needs_voters(wanted):
        with database.transaction() as uow:
            floor = read_floor(uow, wanted.namespace)
            pause = pause_from(wanted, uow.new_id(), request.by.id, uow.now, database.egress_allow, floor, checked=True)
            check_satisfiable(uow, pause)
    return replace(request, checked=True)


def _needs_voters(wanted: PauseRequest) -> bool:
    """Return whether the request's own policy can only be checked against everyone who may vote."""
    return wanted.review is not None and not approval_policy.parse(wanted.review).plain


# Lock timeouts in milliseconds of a transaction that several callers share: for another process's uncommitted key, and
# for any other lock. A request that runs into one is set `Aside` and waits alone.
KEY_WAIT, SHARED_WAIT = 50, 1_000


def create_pauses(database: Database, wanted: Callable[[], Sequence[CreateRequest]]) -> list[Created | Exception]:
    """Create the pauses of all requests that are there once the transaction is open.

    Return one result per request, in order. A refused request yields its error, one that has to wait yields `Aside`.
    """
    outcomes: dict[int, Created | Exception] = {}
    new: dict[int, RenderedEvent] = {}
    channel_exists = any_channel_exists(database)
    with database.transaction() as uow:
        requests = wanted()
        if len(requests) > 1:
            uow.set_lock_timeout(SHARED_WAIT)
        for place, request in enumerate(requests):
            try:
                pause = _new_pause(database, uow, request, channel_exists)
                new[place] = render_event(created(pause), database.public_url)
            except RepeatedRequest as repeated:
                outcomes[place] = Created(_current(database, uow, request.by, repeated.answer), repeated=True)
            except DomainError as domain_error:
                outcomes[place] = domain_error
        outcomes |= _store_responses(database, uow, requests, new)
        new = {place: event for place, event in new.items() if place not in outcomes}
        rows = [values(event.pause) for event in new.values()]
        for (place, event), row in zip(new.items(), rows, strict=True):
            record_created(uow, requests[place].by, event, row)
            outcomes[place] = Created(event.document)
        if new:
            announce(uow, list(new.values()), INSERT, {"records": as_records(rows)})
    return [outcomes[place] for place in range(len(requests))]


def _current(database: Database, uow: UnitOfWork, by: Principal, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the current document of a repeated request's pause; the stored one if the caller cannot see the pause."""
    found = uow.conn.execute(_ONE, _visible(by, pause_id(stored["watchId"]))).mappings().one_or_none()
    return stored if found is None else pause_document(pause_of(found), database.public_url)


def _new_pause(database: Database, uow: UnitOfWork, request: CreateRequest, channel_exists: bool) -> Pause:
    """Return the pause of the request, which is not stored yet."""
    wanted = request.pause
    _check_visible(request)
    get_response(uow, wanted.namespace, request.idempotency)
    floor = read_floor(uow, wanted.namespace)
    pause = pause_from(
        wanted, uow.new_id(), request.by.id, uow.now, database.egress_allow, floor, checked=request.checked
    )
    if not (request.checked and _needs_voters(wanted)):
        check_satisfiable(uow, pause)
    attend_at = uow.now if channel_exists else next_at(pause)
    return pause if attend_at is None else replace(pause, attend_at=attend_at)


def _check_visible(request: CreateRequest) -> None:
    if not request.by.sees(request.pause.namespace):
        raise Forbidden(f"this key has no access to the namespace {request.pause.namespace!r}")


def _store_responses(
    database: Database, uow: UnitOfWork, requests: Sequence[CreateRequest], new: Mapping[int, RenderedEvent]
) -> dict[int, Created | Exception]:
    """Store the responses to requests with an Idempotency-Key.

    Return the outcomes of those that create nothing: repeated just now, or set aside for another process's key.
    """
    keyed = [
        (place, requests[place], idempotency)
        for place in new
        if (idempotency := requests[place].idempotency) is not None
    ]
    # In the order of their keys, so that two processes cannot deadlock on each other's keys.
    keyed.sort(key=lambda each: (each[1].pause.namespace, each[2].key))
    if not keyed:
        return {}
    found: dict[int, Created | Exception] = {}
    alone = len(requests) == 1
    try:
        with nullcontext() if alone else uow.attempt():
            if not alone:
                uow.set_lock_timeout(KEY_WAIT)
            for place, request, idempotency in keyed:
                try:
                    event, namespace = new[place], request.pause.namespace
                    store_response(uow, namespace, idempotency, event.document, pause_id=event.pause.id)
                except RepeatedRequest as repeated:
                    found[place] = Created(_current(database, uow, request.by, repeated.answer), repeated=True)
                except DomainError as domain_error:
                    found[place] = domain_error
            if not alone:
                uow.set_lock_timeout(SHARED_WAIT)
    except DBAPIError as error:
        if alone or state_of(error) != LOCK_NOT_AVAILABLE:
            raise
        return {place: Aside() for place, _, _ in keyed}
    return found


def get_pause(database: Database, by: Principal, id_: UUID) -> Pause:
    """Return the pause. Raise `NotFound` if the caller cannot see it."""
    with database.reading() as conn:
        return _found(conn.execute(_ONE, _visible(by, id_)).mappings().one_or_none(), id_)


def get_pauses(database: Database, by: Principal, wanted: Sequence[UUID]) -> list[Pause]:
    """Return the pauses in the given order, without those that the caller cannot see."""
    query = select(pauses).where(*scope(by), pauses.c.id.in_(wanted))
    with database.reading() as conn:
        found = {row["id"]: pause_of(row) for row in conn.execute(query).mappings()}
    return [found[id_] for id_ in dict.fromkeys(wanted) if id_ in found]


def find_own_pause(database: Database, by: Principal, door: str, external_id: str) -> Pause | None:
    """Return the caller's first pause with this id from this door, in a namespace that the caller can see."""
    columns = pauses.c
    # An expression: PostgreSQL would take the index of a new key's pauses, of which it expects few, and read them all.
    own = columns.created_by.concat("") == by.id
    query = (
        select(pauses)
        .where(sees(by, pauses), own, columns.door == door, columns.external_id == external_id)
        .order_by(columns.id)
        .limit(1)
    )
    with database.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
    return None if row is None else pause_of(row)


def lock_pause(uow: UnitOfWork, by: Principal, id_: UUID) -> Pause:
    """Return the pause, locked until the transaction ends. Raise `NotFound` if the caller cannot see it."""
    return _found(uow.conn.execute(_ONE_LOCKED, _visible(by, id_)).mappings().one_or_none(), id_)


def lock_free_pauses(uow: UnitOfWork, wanted: Sequence[UUID]) -> list[RowMapping]:
    """Return the rows of these pauses, locked until the transaction ends, without those that others have locked.

    It waits for no lock, so its caller may hold locks of other rows.
    """
    return list(uow.conn.execute(_FREE_LOCKED, {"pause_ids": list(wanted)}).mappings())


def may_see(by: Principal, pause: Pause) -> bool:
    """Return whether the caller can see the pause: the same condition as `scope`."""
    return by.sees(pause.namespace) and (by.role is not Role.AGENT or pause.created_by == by.id)


def actor(principal: Principal) -> Actor:
    return Actor(principal.id, principal.name, principal.auth)


def expire_due(database: Database) -> int:
    """Resolve one batch of expired pauses and return how many. Skip rows that another sweep has locked."""
    due = select(pauses).where(pauses.c.status == Status.PENDING).order_by(pauses.c.expires_at)

    def chosen(uow: UnitOfWork) -> Select[Any]:
        # A value, because PostgreSQL does not use the index for a volatile function such as clock_timestamp().
        return due.where(pauses.c.expires_at <= uow.now)

    def expire(uow: UnitOfWork, row: RowMapping) -> None:
        apply(database, uow, None, pause_of(row), Timeout())

    return sweep_pauses(database, EXPIRY, chosen, EXPIRY_BATCH, expire)


def resolved_among(database: Database, waiting: Sequence[UUID]) -> list[UUID]:
    """Return those pauses that are no longer pending or no longer there, for long polls that wait for them."""
    query = select(pauses.c.id).where(pauses.c.id.in_(waiting), pauses.c.status == Status.PENDING)
    with database.reading() as conn:
        pending = set(conn.execute(query).scalars())
    return [id_ for id_ in waiting if id_ not in pending]


# Built once: building a statement takes longer than running it.
_ONE = (
    select(pauses)
    .where(
        pauses.c.id == bindparam("pause_id"),
        or_(
            bindparam("sees_all", type_=Boolean), pauses.c.namespace == any_(bindparam("namespaces", type_=ARRAY(Text)))
        ),
        or_(bindparam("only_by", type_=Text).is_(None), pauses.c.created_by == bindparam("only_by", type_=Text)),
    )
    .execution_options(prepared=True)
)
# With `key_share`, rows that only refer to the pause can be inserted during a decision.
_ONE_LOCKED = _ONE.with_for_update(key_share=True)

_FREE_LOCKED = (
    select(pauses)
    .where(pauses.c.id == any_(bindparam("pause_ids", type_=ARRAY(Uuid))))
    .order_by(pauses.c.id)
    .with_for_update(key_share=True, skip_locked=True)
    .execution_options(prepared=True)
)


def _visible(by: Principal, id_: UUID) -> dict[str, Any]:
    """Return the parameters of `_ONE`, which has the same conditions as `scope`."""
    only_by = by.id if by.role is Role.AGENT else None
    return {"pause_id": id_, "sees_all": by.sees_all, "namespaces": list(by.namespaces), "only_by": only_by}


def _found(row: RowMapping | None, id_: UUID) -> Pause:
    if row is None:
        raise NotFound(f"there is no pause {ids.text(ids.WATCH, id_)!r} that this key may see")
    return pause_of(row)
