"""Use cases of sagas: start one, cancel one."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert

from domain import ids, json_value
from domain.access import Principal
from domain.definition import SagaDefinition, StepKind
from domain.errors import Conflict, Fault, Forbidden, Invalid, NotFound, NotSupportedYet, WrongState
from domain.pause import Cancel
from domain.saga import TERMINAL, Saga, SagaStatus
from domain.step import Step, StepStatus
from models.sagas import sagas
from services.definitions import active_saga, active_worker, load_saga
from services.due import HINT_GRACE, SAGA
from services.pauses import actor, decide_in
from services.saga_reads import visible_saga
from services.saga_rows import add_steps, new_span_id
from services.transaction import Hint, Store, Tx


@dataclass(frozen=True, slots=True)
class Start:
    """What a caller wants to start. `trace_id`: the caller's own; None has one made."""

    namespace: str
    name: str
    version: str
    input: dict[str, Any]
    idempotency_key: str | None = None
    trace_id: UUID | None = None


class SagaStartedOtherwise(Conflict):
    """This key or trace id belongs to a saga of another definition: use a new one."""

    code = "SAGA_STARTED_OTHERWISE"


def start_saga(store: Store, by: Principal, wanted: Start) -> tuple[UUID, bool]:
    """The saga's trace id, and whether this call created it."""
    if not by.sees(wanted.namespace):
        raise Forbidden(f"this key has no access to the namespace {wanted.namespace!r}")
    if json_value.size(wanted.input) > json_value.MAX_BYTES:
        raise Invalid([Fault("input", f"is larger than {json_value.MAX_BYTES // 1024} KiB")])
    with store.transaction() as tx:
        definition_id = active_saga(tx.conn, wanted.namespace, wanted.name, wanted.version)
        if definition_id is None:
            raise NotFound(f"no saga {wanted.name!r} {wanted.version!r} is deployed in namespace {wanted.namespace!r}")
        definition = load_saga(tx.conn, definition_id)
        _check_runnable(definition)
        trace_id = wanted.trace_id or tx.new_id()
        if not _insert(tx, by, wanted, trace_id, definition_id, definition):
            return _started_before(tx, by, wanted, definition_id), False
        tx.hints.append(Hint(SAGA, trace_id))
    return trace_id, True


def _check_runnable(definition: SagaDefinition) -> None:
    thinking = [step.id for step in definition.steps if step.kind is StepKind.REASON]
    if thinking:
        raise NotSupportedYet(
            [Fault("name", f"has steps of kind reason ({', '.join(thinking)}), which this version does not run yet")]
        )


def _insert(
    tx: Tx, by: Principal, wanted: Start, trace_id: UUID, definition_id: UUID, definition: SagaDefinition
) -> bool:
    row = {
        "id": trace_id,
        "created_at": tx.now,
        "definition_id": definition_id,
        "namespace": wanted.namespace,
        "status": str(SagaStatus.PENDING),
        "created_by": by.id,
        "start_idempotency_key": wanted.idempotency_key,
        "workers": _workers(tx, definition),
        "input": wanted.input,
        "needs_operator": False,
        "due_at": tx.now,
        "hint_at": tx.now + HINT_GRACE,
    }
    if tx.conn.execute(insert(sagas).values(row).on_conflict_do_nothing()).rowcount == 0:
        return False
    steps = tuple(Step(new_span_id(), step.id, place) for place, step in enumerate(definition.steps))
    add_steps(tx, Saga(trace_id, wanted.namespace, SagaStatus.PENDING, wanted.input, steps))
    return True


def _workers(tx: Tx, definition: SagaDefinition) -> dict[str, str]:
    """Bound at the start: what is deployed later changes nothing."""
    users = [user for step in definition.steps for user in (step, step.undo) if user is not None]
    found: dict[str, str] = {}
    for name, version in {(user.worker, user.worker_version) for user in users}:
        id_ = active_worker(tx.conn, definition.namespace, name, version)
        if id_ is None:
            raise Conflict(
                f"worker {name!r} {version!r} is not deployed in namespace {definition.namespace!r} any more"
            )
        found[f"{name}@{version}"] = id_.hex
    return found


def _started_before(tx: Tx, by: Principal, wanted: Start, definition_id: UUID) -> UUID:
    same: list[ColumnElement[bool]] = []
    if wanted.trace_id is not None:
        same.append(sagas.c.id == wanted.trace_id)
    if wanted.idempotency_key is not None:
        key = sagas.c.start_idempotency_key == wanted.idempotency_key
        same.append((sagas.c.namespace == wanted.namespace) & key)
    rows = [tx.conn.execute(select(sagas).where(condition)).mappings().one_or_none() for condition in same]
    found = {row["id"]: row for row in rows if row is not None}
    if len(found) != 1:
        raise SagaStartedOtherwise("the key and the trace id belong to two different sagas")
    id_: UUID
    ((id_, row),) = found.items()
    # Of another namespace: that there is one must not be told.
    if not by.sees(row["namespace"]) or row["namespace"] != wanted.namespace or row["definition_id"] != definition_id:
        raise SagaStartedOtherwise
    return id_


def cancel_saga(store: Store, by: Principal, trace_id: UUID, reason: str | None) -> str:
    """Undoes what was done; what is under way is waited for. The saga's status when it was asked."""
    with store.transaction() as tx:
        current = visible_saga(tx.conn, by, trace_id).saga.current
        if current is not None and current.status is StepStatus.AWAITING_HUMAN and current.watch_id is not None:
            # The pause before its saga, as everywhere.
            decide_in(store, tx, by, ids.text(ids.WATCH, current.watch_id), Cancel(actor(by), reason))
        row = tx.conn.execute(select(sagas).where(sagas.c.id == trace_id).with_for_update()).mappings().one()
        status = SagaStatus(row["status"])
        if status in TERMINAL or status is SagaStatus.COMPENSATING:
            raise WrongState("SAGA", status, f"the saga is {status}: there is nothing to cancel")
        change = {"cancelled": row["cancelled"] or reason or f"cancelled by {by.name}"}
        when = {"due_at": tx.now, "hint_at": tx.now + HINT_GRACE}
        tx.conn.execute(update(sagas).where(sagas.c.id == trace_id).values(change | when))
        tx.hints.append(Hint(SAGA, trace_id))
    return str(status)
