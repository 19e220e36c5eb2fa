"""Held steps, the longest waiting first."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, select

from domain.identity.access import Principal
from domain.manifests.definition import SagaDefinition, StepKind
from domain.pauses.pause import STEP, Status
from domain.pauses.serialization import instant_or_none, review_url, waiting_for
from domain.sagas.serialization import span_text
from domain.values import ids
from models.pauses import pause_of, pauses
from models.sagas import saga_steps, sagas
from services.kernel.pagination import SEARCHED, Page, Slice, slice_of
from services.kernel.tenancy import seen_namespaces, within
from services.kernel.unit_of_work import Database
from services.manifests.definitions import load_sagas


@dataclass(frozen=True, slots=True)
class ReviewFilter:
    trace_id: UUID | None = None
    namespace: str | None = None
    kind: StepKind | None = None


def pending_reviews(database: Database, by: Principal, wanted: ReviewFilter, page: Page) -> Slice[dict[str, Any]]:
    """List held steps. A cursor holds the id of a step's pause."""
    with database.reading() as conn:
        queue = _queue(by, wanted, page)
        rows = conn.execute(_query(wanted, page, queue)).mappings().all()
        last = None
        if wanted.kind is not None and len(rows) <= page.limit:
            searched = queue.with_only_columns(pauses.c.id).offset(SEARCHED + page.offset - 1).limit(1)
            last = conn.execute(searched).scalar()
        declared = load_sagas(conn, {row["definition_id"] for row in rows})

    def item(row: RowMapping) -> dict[str, Any]:
        return _document(row, declared.get(row["definition_id"]), database.public_url)

    found = slice_of(rows, page, item, lambda row: row["id"])
    return replace(found, next_after=found.next_after or last)


def _queue(by: Principal, wanted: ReviewFilter, page: Page) -> Select[Any]:
    """Select the pauses of held steps after the cursor. A pause is pending exactly as long as its step is held."""
    query = select(pauses).where(pauses.c.kind == STEP, pauses.c.status == Status.PENDING.value)
    query = query.where(*within(pauses, seen_namespaces(by, wanted.namespace)))
    if wanted.trace_id is not None:
        steps = select(saga_steps.c.watch_id).where(saga_steps.c.saga_id == wanted.trace_id)
        query = query.where(pauses.c.id.in_(steps))
    if page.after is not None:
        query = query.where(pauses.c.id > page.after)
    return query.order_by(pauses.c.id)


def _query(wanted: ReviewFilter, page: Page, queue: Select[Any]) -> Select[Any]:
    """Select the page of pauses first, by their index, and join only those with steps and sagas."""
    number = page.limit + 1 if wanted.kind is None else SEARCHED
    read = queue.limit(number + page.offset).subquery("read")
    query = select(read)
    if wanted.kind is not None:
        # The kind is in the context, which the engine wrote; a manifest has no columns.
        query = query.where(read.c.context["step_kind"].as_string() == str(wanted.kind))
    held = query.order_by(read.c.id).limit(page.limit + 1).offset(page.offset).subquery("held")
    step = saga_steps.c
    return (
        select(
            *held.c,
            *(step.saga_id, step.span_id, step.step_id, step.place, step.started_at),
            sagas.c.definition_id,
        )
        .select_from(held.join(saga_steps, step.watch_id == held.c.id).join(sagas, sagas.c.id == step.saga_id))
        .order_by(held.c.id)
    )


def _document(row: RowMapping, definition: SagaDefinition | None, public_url: str) -> dict[str, Any]:
    pause = pause_of(row)
    steps = () if definition is None else definition.steps
    declared = next((step for step in steps if step.id == row["step_id"]), None)
    # The context, which the engine wrote, serves if this version cannot read the manifest.
    context = pause.context or {}
    worker, _, version = str(context.get("worker", "")).partition("@")
    kind = str(context.get("step_kind", "")) if declared is None else str(declared.kind)
    return {
        "namespace": pause.namespace,
        "saga_trace_id": row["saga_id"].hex,
        "step_span_id": span_text(row["span_id"]),
        "step_id": row["step_id"],
        "step_name": row["step_id"] if declared is None else declared.name,
        "step_kind": kind,
        "order_index": row["place"],
        "worker": worker if declared is None else declared.worker,
        "worker_version": version if declared is None else declared.worker_version,
        "review_subject": "output" if kind == StepKind.REASON else "arguments",
        "review_payload": pause.arguments,
        "revision": pause.revision,
        "waiting_for": waiting_for(pause),
        "mock": bool(context.get("mock")),
        "started_at": instant_or_none(row["started_at"]),
        "watch_id": ids.text(ids.WATCH, pause.id),
        "review_url": review_url(pause.id, public_url),
        "expires_at": instant_or_none(pause.expires_at),
    }
