"""Starts of several callers' sagas in one transaction.

A batch starts sagas that are new. A repeated start is set `Aside`, and one whose input takes long to check: its own
thread then executes it alone. If another process uses one of the keys at the same moment, each starts alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Text, Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import Principal
from domain.manifests.definition import SagaDefinition
from domain.values.errors import DomainError
from models.records import as_records, insert_records
from models.sagas import sagas
from services.kernel.group_commit import Aside
from services.kernel.idempotency import IdempotentRequest, store_responses, used_keys
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.lifecycle import KEY_WAIT
from services.sagas.lifecycle import (
    StartRequest,
    bound_workers,
    candidate_trace_ids,
    check_start,
    deployed_saga,
    first_state,
    input_errors,
    record_started,
    start_in,
    started_document,
    started_row,
)
from services.sagas.repository import add_steps

# The namespace, name and version of a start; and one of its keys: its kind, its namespace, and the key itself.
_Name = tuple[str, str, str]
_Key = tuple[str, str, str | UUID]


@dataclass(frozen=True, slots=True)
class StartCall:
    """One caller's request. `fits`: the definition whose schema its input fits."""

    by: Principal
    wanted: StartRequest
    idempotency: IdempotentRequest | None = None
    fits: UUID | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """`is_new`: this call has started the saga."""

    trace_id: UUID
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Deployed:
    """A definition, with the workers that its sagas are bound to now."""

    id: UUID
    definition: SagaDefinition
    workers: Mapping[str, str]


# The definitions of the last starts: an input is checked by them before the transaction, which reads its own.
_last: dict[_Name, _Deployed] = {}
CAPACITY = 256


def checked(call: StartCall) -> StartCall:
    """Make the slow checks of a start before the shared transaction. Raise the errors that need no database."""
    check_start(call.by, call.wanted)
    known = _last.get(_name(call.wanted))
    if known is None or next(input_errors(known.definition, call.wanted.input), None) is not None:
        return call
    return replace(call, fits=known.id)


def start_sagas(database: Database, wanted: Callable[[], Sequence[StartCall]]) -> list[Started | Exception]:
    """Start the sagas of all callers that are there once the transaction is open. Return one outcome per caller.

    A caller who is alone may also get its error raised.
    """
    with database.transaction() as uow:
        calls = wanted()
        if len(calls) == 1:
            call = calls[0]
            return [Started(*start_in(uow, call.by, call.wanted, call.idempotency))]
        uow.set_lock_timeout(KEY_WAIT)
        return _start_together(uow, calls)


def _start_together(uow: UnitOfWork, calls: Sequence[StartCall]) -> list[Started | Exception]:
    used = _used(uow, calls)
    deployed: dict[_Name, _Deployed | DomainError] = {}
    outcomes: list[Started | Exception] = []
    new: list[tuple[StartCall, UUID, _Deployed]] = []
    for call in calls:
        keys, name = set(_keys(call)), _name(call.wanted)
        if name not in deployed:
            deployed[name] = _deployed(uow, call.wanted)
        found = deployed[name]
        if keys & used:
            outcomes.append(Aside())
        elif isinstance(found, DomainError):
            outcomes.append(found)
        elif found.definition.input_schema is not None and call.fits != found.id:
            outcomes.append(Aside())
        else:
            # Another start with one of the keys repeats this one.
            used |= keys
            trace_id = call.wanted.trace_id or uow.new_id()
            new.append((call, trace_id, found))
            outcomes.append(Started(trace_id, True))
    _store(uow, new)
    return outcomes


def _name(wanted: StartRequest) -> _Name:
    return wanted.namespace, wanted.name, wanted.version


def _keys(call: StartCall) -> Iterator[_Key]:
    """Yield what makes a start a repeated one, if it was used before."""
    wanted = call.wanted
    if call.idempotency is not None:
        yield "request", wanted.namespace, call.idempotency.key
    if wanted.idempotency_key is not None:
        yield "saga", wanted.namespace, wanted.idempotency_key
    if wanted.trace_id is not None:
        for id_ in candidate_trace_ids(wanted.namespace, wanted.trace_id):
            yield "trace", wanted.namespace, id_


def _used(uow: UnitOfWork, calls: Sequence[StartCall]) -> set[_Key]:
    """Return the keys that sagas or stored responses have already."""
    keys = [key for call in calls for key in _keys(call)]
    used: set[_Key] = {
        ("request", *pair)
        for pair in used_keys(uow, [(namespace, str(key)) for kind, namespace, key in keys if kind == "request"])
    }
    if of_sagas := [key for kind, _, key in keys if kind == "saga"]:
        namespaces = list({namespace for kind, namespace, _ in keys if kind == "saga"})
        rows = uow.conn.execute(_OF_SAGAS, {"namespaces": namespaces, "keys": of_sagas})
        used |= {("saga", row.namespace, row.start_idempotency_key) for row in rows}
    if traces := {id_: key for key in keys if isinstance(id_ := key[2], UUID)}:
        used |= {traces[row.id] for row in uow.conn.execute(_OF_TRACES, {"ids": list(traces)})}
    return used


def _deployed(uow: UnitOfWork, wanted: StartRequest) -> _Deployed | DomainError:
    try:
        id_, definition = deployed_saga(uow, wanted)
        found = _Deployed(id_, definition, bound_workers(uow, definition))
    except DomainError as error:
        return error
    if len(_last) >= CAPACITY:
        _last.clear()
    _last[_name(wanted)] = found
    return found


def _store(uow: UnitOfWork, new: Sequence[tuple[StartCall, UUID, _Deployed]]) -> None:
    """Store the sagas. Raise `Aside` if another process has used one of the keys since.

    In the order of their keys, so that two processes cannot deadlock.
    """
    if not new:
        return
    ordered = sorted(new, key=lambda each: (each[0].wanted.namespace, each[0].wanted.idempotency_key or "", each[1]))
    rows = [started_row(uow, call.by, call.wanted, trace_id, of.id, of.workers) for call, trace_id, of in ordered]
    if uow.conn.execute(_START_ALL, {"records": as_records(rows)}).rowcount < len(rows):
        raise Aside
    add_steps(uow, [first_state(call.wanted, trace_id, of.definition) for call, trace_id, of in ordered])
    store_responses(
        uow,
        [
            (call.wanted.namespace, call.idempotency, started_document(trace_id, is_new=True), trace_id)
            for call, trace_id, _ in new
            if call.idempotency is not None
        ],
    )
    for call, trace_id, _ in new:
        record_started(uow, call.by, call.wanted, trace_id)


# Built once: building a statement takes longer than running it.
_START_ALL = insert_records(sagas).on_conflict_do_nothing().execution_options(prepared=True)
_OF_SAGAS = (
    select(sagas.c.namespace, sagas.c.start_idempotency_key)
    .where(
        sagas.c.namespace == any_(bindparam("namespaces", type_=ARRAY(Text))),
        sagas.c.start_idempotency_key == any_(bindparam("keys", type_=ARRAY(Text))),
    )
    .execution_options(prepared=True)
)
_OF_TRACES = select(sagas.c.id).where(sagas.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
