"""Looking at sagas and their steps."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from domain import ids
from domain.access import Principal
from domain.definition import SagaDefinition
from domain.errors import NotFound
from domain.saga import SagaStatus, context
from domain.saga_document import saga_document, step_document
from domain.step import Step
from models.sagas import sagas
from services.definitions import load_saga
from services.paging import Page, Slice, newest_first
from services.saga_rows import Stored, read, span_of
from services.transaction import Store


@dataclass(frozen=True, slots=True)
class SagaFilter:
    trace_id: UUID | None = None
    namespace: str | None = None
    statuses: tuple[SagaStatus, ...] = ()
    in_flight: bool = False
    failed: bool = False
    needs_operator: bool = False


def list_sagas(store: Store, by: Principal, wanted: SagaFilter, page: Page) -> Slice[dict[str, Any]]:
    """Newest first."""
    with store.reading() as conn:
        names: dict[UUID, SagaDefinition] = {}

        def document(row: RowMapping) -> dict[str, Any]:
            id_ = row["definition_id"]
            names[id_] = names.get(id_) or load_saga(conn, id_)
            (stored,) = read(conn, select(sagas).where(sagas.c.id == row["id"]))
            return _saga_document(stored, names[id_], row)

        query = select(sagas).where(*_scope(by), *_conditions(wanted))
        return newest_first(store, query, sagas.c.id, page, document)


def get_saga(store: Store, by: Principal, trace_id: UUID) -> dict[str, Any]:
    """With its context and steps."""
    with store.reading() as conn:
        stored, row, definition = _one(conn, by, trace_id)
        saga = stored.saga
        steps = [step_document(saga, definition, step) for step in (*saga.steps, *saga.undos)]
        more = {"context": context(saga), "steps": steps, "cancel_reason": saga.cancelled}
        return _saga_document(stored, definition, row) | more


def list_steps(store: Store, by: Principal, trace_id: UUID) -> list[dict[str, Any]]:
    with store.reading() as conn:
        stored, _, definition = _one(conn, by, trace_id)
        return [step_document(stored.saga, definition, step) for step in (*stored.saga.steps, *stored.saga.undos)]


def get_step(store: Store, by: Principal, trace_id: UUID, span: str, namespace: str | None) -> dict[str, Any]:
    with store.reading() as conn:
        stored, _, definition = _one(conn, by, trace_id, namespace)
        step = step_of_saga(stored, span)
        more = {"resolved_arguments": step.arguments, "output_payload": step.output, "prompt_ref": None}
        return step_document(stored.saga, definition, step) | more


def step_of_saga(stored: Stored, span: str) -> Step:
    span_id = span_of(span)
    step = None if span_id is None else stored.saga.find(span_id)
    if step is None:
        raise NotFound(f"the saga has no step {span[:64]!r}")
    return step


def visible_saga(conn: Connection, by: Principal, trace_id: UUID, namespace: str | None = None) -> Stored:
    """Raises `NotFound`, also for a saga of a namespace that is not this key's or not the one named."""
    conditions = [sagas.c.id == trace_id, *_scope(by)]
    if namespace is not None:
        conditions.append(sagas.c.namespace == namespace)
    found = read(conn, select(sagas).where(*conditions))
    if not found:
        raise _not_found(trace_id)
    return found[0]


def _one(
    conn: Connection, by: Principal, trace_id: UUID, namespace: str | None = None
) -> tuple[Stored, RowMapping, SagaDefinition]:
    stored = visible_saga(conn, by, trace_id, namespace)
    row = conn.execute(select(sagas).where(sagas.c.id == trace_id)).mappings().one()
    return stored, row, load_saga(conn, stored.definition_id)


def _not_found(trace_id: UUID) -> NotFound:
    return NotFound(f"there is no saga {trace_id.hex} that this key may see")


def _saga_document(stored: Stored, definition: SagaDefinition, row: RowMapping) -> dict[str, Any]:
    return saga_document(
        stored.saga,
        definition,
        ids.text(ids.DEFINITION, stored.definition_id),
        created_at=row["created_at"],
        start_idempotency_key=row["start_idempotency_key"],
    )


def _scope(by: Principal) -> list[ColumnElement[bool]]:
    """An agent sees all of its namespaces' sagas: other than a pause, a saga is the namespace's."""
    return [] if by.sees_all else [sagas.c.namespace.in_(by.namespaces)]


def _conditions(wanted: SagaFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.trace_id is not None:
        conditions.append(sagas.c.id == wanted.trace_id)
    if wanted.namespace is not None:
        conditions.append(sagas.c.namespace == wanted.namespace)
    if wanted.statuses:
        conditions.append(sagas.c.status.in_(wanted.statuses))
    if wanted.in_flight:
        conditions.append(sagas.c.ended_at.is_(None))
    if wanted.failed:
        conditions.append(sagas.c.status == SagaStatus.FAILED)
    if wanted.needs_operator:
        conditions.append(sagas.c.needs_operator)
    return conditions
