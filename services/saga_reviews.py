"""The steps that wait for a person, the longest waiting first."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select

from domain import ids
from domain.access import Principal
from domain.definition import SagaDefinition, StepKind
from domain.document import instant_or_none, review_url
from domain.pause import STEP, Status
from domain.saga_document import span_text
from domain.step import StepStatus
from models.pauses import pauses
from models.sagas import saga_steps, sagas
from services.definitions import load_sagas
from services.paging import Page, Slice, slice_of
from services.transaction import Store


@dataclass(frozen=True, slots=True)
class ReviewFilter:
    trace_id: UUID | None = None
    namespace: str | None = None
    kind: StepKind | None = None


def pending_reviews(store: Store, by: Principal, wanted: ReviewFilter, page: Page) -> Slice[dict[str, Any]]:
    """A cursor holds the id of a hold's pause."""
    query = _HELD.where(*_conditions(by, wanted))
    if page.after is not None:
        query = query.where(pauses.c.id > page.after)
    query = query.order_by(pauses.c.id).limit(page.limit + 1).offset(page.offset)
    with store.reading() as conn:
        rows = conn.execute(query).mappings().all()
        declared = load_sagas(conn, {row["definition_id"] for row in rows})

    def item(row: RowMapping) -> dict[str, Any]:
        return _document(row, declared[row["definition_id"]], store.public_url)

    return slice_of(rows, page, item, lambda row: row["watch_id"])


# Once the pause is decided the step waits for a worker, and no longer for a person.
_HELD = (
    select(
        pauses.c.id.label("watch_id"),
        pauses.c.namespace,
        pauses.c.arguments,
        pauses.c.expires_at,
        saga_steps.c.saga_id,
        saga_steps.c.span_id,
        saga_steps.c.step_id,
        saga_steps.c.place,
        saga_steps.c.started_at,
        sagas.c.definition_id,
    )
    .select_from(
        pauses.join(saga_steps, saga_steps.c.watch_id == pauses.c.id).join(sagas, sagas.c.id == saga_steps.c.saga_id)
    )
    .where(
        pauses.c.kind == STEP,
        pauses.c.status == Status.PENDING.value,
        saga_steps.c.status == StepStatus.AWAITING_HUMAN.value,
    )
)


def _conditions(by: Principal, wanted: ReviewFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [] if by.sees_all else [pauses.c.namespace.in_(by.namespaces)]
    if wanted.namespace is not None:
        conditions.append(pauses.c.namespace == wanted.namespace)
    if wanted.trace_id is not None:
        conditions.append(saga_steps.c.saga_id == wanted.trace_id)
    if wanted.kind is not None:
        # As the engine wrote it when it held the step: the manifest is not in columns.
        conditions.append(pauses.c.context["step_kind"].as_string() == str(wanted.kind))
    return conditions


def _document(row: RowMapping, definition: SagaDefinition, public_url: str) -> dict[str, Any]:
    declared = definition.step(row["step_id"])
    return {
        "namespace": row["namespace"],
        "saga_trace_id": row["saga_id"].hex,
        "step_span_id": span_text(row["span_id"]),
        "step_id": declared.id,
        "step_name": declared.name,
        "step_kind": str(declared.kind),
        "order_index": row["place"],
        "worker": declared.worker,
        "worker_version": declared.worker_version,
        "review_subject": "output" if declared.kind is StepKind.REASON else "arguments",
        "review_payload": row["arguments"],
        "started_at": instant_or_none(row["started_at"]),
        "watch_id": ids.text(ids.WATCH, row["watch_id"]),
        "review_url": review_url(row["watch_id"], public_url),
        "expires_at": instant_or_none(row["expires_at"]),
    }
