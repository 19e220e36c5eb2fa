"""Use cases of sagas: start and cancel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.identity.access import Principal
from domain.log import audit
from domain.manifests.definition import SagaDefinition
from domain.pauses.pause import Cancel, Status
from domain.sagas.saga import TERMINAL, Saga, SagaStatus
from domain.sagas.step import Step, StepStatus
from domain.values import canonical_json, json_schema
from domain.values.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, WrongState
from models.pauses import pauses
from models.sagas import sagas
from services.kernel.idempotency import IdempotentRequest, get_response, store_response
from services.kernel.leases import SAGA, due_now
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp
from services.manifests.definitions import active_saga, active_worker, load_saga
from services.pauses.changes import apply
from services.pauses.lifecycle import actor, lock_pause
from services.sagas.queries import visible_saga, with_name
from services.sagas.repository import add_steps, lock, new_span_id


@dataclass(frozen=True, slots=True)
class StartRequest:
    """The saga to start. `trace_id`: chosen by the caller; None generates one."""

    namespace: str
    name: str
    version: str
    input: dict[str, Any]
    idempotency_key: str | None = None
    trace_id: UUID | None = None


# How many derived trace ids a start tries when the requested one is taken.
OTHER_TRACE_IDS = 8


class SagaStartedOtherwise(Conflict):
    """This key or trace id belongs to a saga of another definition: use a new one."""

    code = "SAGA_STARTED_OTHERWISE"


def start_saga(
    database: Database, by: Principal, wanted: StartRequest, idempotency: IdempotentRequest | None = None
) -> tuple[UUID, bool]:
    """Start a saga. Return its trace id, and whether this call created it. Raise `RepeatedRequest`."""
    check_start(by, wanted)
    with database.transaction() as uow:
        return start_in(uow, by, wanted, idempotency)


def start_in(
    uow: UnitOfWork, by: Principal, wanted: StartRequest, idempotency: IdempotentRequest | None
) -> tuple[UUID, bool]:
    """Start a saga in this transaction, as `start_saga` does."""
    get_response(uow, wanted.namespace, idempotency)
    wanted = _with_own_trace_id(uow, by, wanted)
    definition_id, definition = deployed_saga(uow, wanted)
    trace_id = wanted.trace_id or uow.new_id()
    found = list(input_errors(definition, wanted.input))
    # The input of a saga that exists already was checked when it started.
    if found and not _rows_before(uow, wanted):
        raise Invalid(found)
    is_new = not found and _insert(uow, by, wanted, trace_id, definition_id, definition)
    if is_new:
        record_started(uow, by, wanted, trace_id)
    else:
        trace_id = _started_before(uow, by, wanted)
    store_response(uow, wanted.namespace, idempotency, started_document(trace_id, is_new), saga_id=trace_id)
    return trace_id, is_new


def check_start(by: Principal, wanted: StartRequest) -> None:
    """Check what needs no database."""
    if not by.sees(wanted.namespace):
        raise Forbidden(f"this key has no access to the namespace {wanted.namespace!r}")
    if canonical_json.size(wanted.input) > canonical_json.MAX_BYTES:
        raise Invalid([FieldError("input", f"is larger than {canonical_json.MAX_BYTES // 1024} KiB")])


def deployed_saga(uow: UnitOfWork, wanted: StartRequest) -> tuple[UUID, SagaDefinition]:
    definition_id = active_saga(uow.conn, wanted.namespace, wanted.name, wanted.version)
    if definition_id is None:
        raise NotFound(f"no saga {wanted.name!r} {wanted.version!r} is deployed in namespace {wanted.namespace!r}")
    return definition_id, load_saga(uow.conn, definition_id)


def record_started(uow: UnitOfWork, by: Principal, wanted: StartRequest, trace_id: UUID) -> None:
    """Write the new saga to the audit log, and wake a worker."""
    about = {"name": wanted.name, "version": wanted.version, "input_digest": audit.digest(wanted.input)}
    uow.record(by, wanted.namespace, "saga.started", trace_id.hex, **about)
    uow.wakeups.append(WakeUp(SAGA, trace_id))


def _with_own_trace_id(uow: UnitOfWork, by: Principal, wanted: StartRequest) -> StartRequest:
    """Replace the trace id if a saga that the caller may not see has it: the caller must not learn that it exists.

    The new one is derived from the requested one, so that a repeated request finds its saga.
    """
    if wanted.trace_id is None:
        return wanted
    candidates = candidate_trace_ids(wanted.namespace, wanted.trace_id)
    query = select(sagas.c.id, sagas.c.namespace).where(sagas.c.id.in_(candidates))
    taken = {row.id: row.namespace for row in uow.conn.execute(query)}
    ours = [id_ for id_ in candidates if taken.get(id_) == wanted.namespace]
    free = [id_ for id_ in candidates if id_ not in taken or by.sees(taken[id_])]
    return replace(wanted, trace_id=[*ours, *free, wanted.trace_id][0])


def candidate_trace_ids(namespace: str, requested: UUID) -> list[UUID]:
    others = (sha256(f"{namespace} {requested.hex} {n}".encode()).digest()[:16] for n in range(OTHER_TRACE_IDS))
    return [requested, *(UUID(bytes=other) for other in others)]


def input_errors(definition: SagaDefinition, input_: dict[str, Any]) -> Iterator[FieldError]:
    if definition.input_schema is not None:
        yield from json_schema.value_errors(dict(definition.input_schema), input_, "input")


def started_document(trace_id: UUID, is_new: bool) -> dict[str, Any]:
    return {"trace_id": trace_id.hex, "created": is_new}


def _insert(
    uow: UnitOfWork,
    by: Principal,
    wanted: StartRequest,
    trace_id: UUID,
    definition_id: UUID,
    definition: SagaDefinition,
) -> bool:
    row = started_row(uow, by, wanted, trace_id, definition_id, bound_workers(uow, definition))
    if uow.conn.execute(_START, row).rowcount == 0:
        return False
    add_steps(uow, [first_state(wanted, trace_id, definition)])
    return True


def started_row(
    uow: UnitOfWork,
    by: Principal,
    wanted: StartRequest,
    trace_id: UUID,
    definition_id: UUID,
    workers: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "id": trace_id,
        "created_at": uow.now,
        "definition_id": definition_id,
        "namespace": wanted.namespace,
        "status": str(SagaStatus.PENDING),
        "created_by": by.id,
        "start_idempotency_key": wanted.idempotency_key,
        "workers": workers,
        "input": wanted.input,
        "needs_operator": False,
        **due_now(uow),
    }


def first_state(wanted: StartRequest, trace_id: UUID, definition: SagaDefinition) -> Saga:
    steps = tuple(Step(new_span_id(), step.id, place) for place, step in enumerate(definition.steps))
    return Saga(trace_id, wanted.namespace, SagaStatus.PENDING, wanted.input, steps)


# Built once: building a statement takes longer than running it.
_START = insert(sagas).on_conflict_do_nothing().execution_options(prepared=True)


def bound_workers(uow: UnitOfWork, definition: SagaDefinition) -> dict[str, str]:
    """Bind the workers of the saga at its start, so that a later deployment does not change it."""
    users = [user for step in definition.steps for user in (step, step.undo) if user is not None]
    found: dict[str, str] = {}
    for name, version in {(user.worker, user.worker_version) for user in users}:
        id_ = active_worker(uow.conn, definition.namespace, name, version)
        if id_ is None:
            raise Conflict(
                f"worker {name!r} {version!r} is not deployed in namespace {definition.namespace!r} any more"
            )
        found[f"{name}@{version}"] = id_.hex
    return found


def _rows_before(uow: UnitOfWork, wanted: StartRequest) -> dict[UUID, RowMapping]:
    """Return the sagas that have this idempotency key or this trace id."""
    same: list[ColumnElement[bool]] = []
    if wanted.trace_id is not None:
        same.append(sagas.c.id == wanted.trace_id)
    if wanted.idempotency_key is not None:
        key = sagas.c.start_idempotency_key == wanted.idempotency_key
        same.append((sagas.c.namespace == wanted.namespace) & key)
    query = with_name()
    rows = [uow.conn.execute(query.where(condition)).mappings().one_or_none() for condition in same]
    return {row["id"]: row for row in rows if row is not None}


def _started_before(uow: UnitOfWork, by: Principal, wanted: StartRequest) -> UUID:
    found = _rows_before(uow, wanted)
    if len(found) != 1:
        raise SagaStartedOtherwise("the key and the trace id belong to two different sagas")
    id_: UUID
    ((id_, row),) = found.items()
    # Compare by name, because the definition may have been replaced since. A saga of another namespace must not be
    # revealed.
    if (row["namespace"], row["name"], row["version"]) != (wanted.namespace, wanted.name, wanted.version):
        raise SagaStartedOtherwise
    return id_


def cancel_saga(database: Database, by: Principal, trace_id: UUID, reason: str | None) -> str:
    """Cancel a saga: wait for the step under way, then compensate. Return the status before the cancellation."""
    status = None
    # While this waits for the lock, a worker may move the saga on to the next held step: then try again.
    while status is None:
        with database.transaction() as uow:
            status = _cancel(database, uow, by, trace_id, reason)
    return str(status)


def _cancel(
    database: Database, uow: UnitOfWork, by: Principal, trace_id: UUID, reason: str | None
) -> SagaStatus | None:
    """Cancel the saga, or return None if it, or the pause that holds it, has changed since it was read."""
    held = _held_by(visible_saga(uow.conn, by, trace_id).saga)
    if held is not None and not _lock_before_saga(uow, held):
        return None
    record = lock(uow, trace_id)
    assert record is not None, "it was just read, and sagas that have not ended are not deleted"
    saga = record.saga
    if saga.status in TERMINAL or saga.status is SagaStatus.COMPENSATING:
        raise WrongState("SAGA", saga.status, f"the saga is {saga.status}: there is nothing to cancel")
    if _held_by(saga) != held:
        return None
    if held is not None:
        apply(database, uow, by, lock_pause(uow, by, held), Cancel(actor(by), reason))
    if saga.cancelled is None:
        uow.record(by, saga.namespace, "saga.cancelled", trace_id.hex, reason=reason)
    why = saga.cancelled or reason or f"cancelled by {by.name}"
    free = {"stuck": None, "needs_operator": replace(saga, stuck=None).needs_operator}
    uow.conn.execute(update(sagas).where(sagas.c.id == trace_id).values(cancelled=why, **free, **due_now(uow)))
    uow.wakeups.append(WakeUp(SAGA, trace_id))
    return saga.status


def _lock_before_saga(uow: UnitOfWork, held: UUID) -> bool:
    """Lock a pause that is not approved. Return False if it was approved while this waited for its lock.

    The engine locks an approved pause after its saga, and everything else locks a pause before its saga. PostgreSQL
    keeps a lock that it waited for, even if the row no longer fits the query. Only a new transaction is free of it.
    """
    this = select(pauses.c.id).where(pauses.c.id == held, pauses.c.status != Status.APPROVED.value)
    if uow.conn.execute(this).first() is None:
        return True
    return uow.conn.execute(this.with_for_update(key_share=True)).first() is not None


def _held_by(saga: Saga) -> UUID | None:
    step = saga.current
    return step.watch_id if step is not None and step.status is StepStatus.AWAITING_HUMAN else None
