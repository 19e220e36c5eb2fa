"""Read sagas and their steps."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import Principal
from domain.manifests.definition import SagaDefinition
from domain.sagas.saga import Saga, SagaStatus, context
from domain.sagas.serialization import saga_document, step_document
from domain.sagas.step import Step, StepStatus, known_as
from domain.values.errors import NotFound
from models.definitions import definitions
from models.sagas import saga_steps, saga_transcripts, sagas
from services.kernel.pagination import Listing, Page, Slice, in_namespaces, list_page, slice_of
from services.kernel.tenancy import seen_namespaces, sees, within
from services.kernel.unit_of_work import Database
from services.manifests.definitions import shown_saga
from services.sagas.repository import SagaRecord, span_of, understood, with_steps


@dataclass(frozen=True, slots=True)
class StepRef:
    """A reference to a step. `namespace`: None accepts any that the caller sees."""

    trace_id: UUID
    span: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class SagaFilter:
    trace_id: UUID | None = None
    namespace: str | None = None
    statuses: tuple[SagaStatus, ...] = ()
    in_flight: bool = False
    failed: bool = False
    needs_operator: bool = False


def list_sagas(database: Database, by: Principal, wanted: SagaFilter, page: Page) -> Slice[dict[str, Any]]:
    """List sagas, the newest first by start time, because the caller may have chosen the trace id."""
    # An agent sees all sagas of its namespaces. A saga, unlike a pause, belongs to the namespace.
    columns, namespaces = sagas.c, seen_namespaces(by, wanted.namespace)
    filters, bounds = _conditions(wanted), []
    if wanted.trace_id is not None or wanted.needs_operator or _UNFINISHED.issuperset(_statuses(wanted)):
        # The partial indexes have the namespace and the status of each row.
        bounds, filters = [*filters, *within(sagas, namespaces)], []
        branches = in_namespaces(sagas, None)
    else:
        branches = in_namespaces(sagas, namespaces)
    listing = Listing(with_name(), (columns.created_at, columns.id), branches, bounds, filters)
    # A cursor of another namespace must not reveal that its saga exists, or since when.
    seen = select(columns.created_at, columns.id).where(columns.id == page.after, sees(by, sagas)).scalar_subquery()
    return list_page(database, listing, page, saga_document, seen)


# The statuses in the partial index `ix_sagas_unfinished`.
_UNFINISHED = frozenset(set(SagaStatus) - {SagaStatus.COMPLETED})
_ENDED = (SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.FAILED)


def _statuses(wanted: SagaFilter) -> Set[SagaStatus]:
    """Return the statuses that a saga of the list may have."""
    found = set(wanted.statuses or SagaStatus)
    if wanted.in_flight:
        found -= set(_ENDED)
    return found & {SagaStatus.FAILED} if wanted.failed else found


def count_needing_operator(database: Database, by: Principal) -> int:
    with database.reading() as conn:
        return conn.execute(select(func.count()).where(sees(by, sagas), sagas.c.needs_operator)).scalar_one()


def get_saga(database: Database, by: Principal, trace_id: UUID) -> dict[str, Any]:
    """Return the saga with its context and steps."""
    with database.reading() as conn:
        row, record, definition = _one(conn, by, trace_id)
    saga = record.saga
    more = {"context": context(saga), "steps": _steps(record, definition), "cancel_reason": saga.cancelled}
    return saga_document(row) | more


def read_saga(database: Database, by: Principal, trace_id: UUID) -> tuple[dict[str, Any], Saga, SagaDefinition]:
    """Return the saga's document without steps, the saga itself, and its definition."""
    with database.reading() as conn:
        row, record, definition = _one(conn, by, trace_id)
    more = {"cancel_reason": record.saga.cancelled, "progress": row["progress"]}
    return saga_document(row) | more, record.saga, definition


def list_steps(
    database: Database, by: Principal, trace_id: UUID, namespace: str | None, statuses: Set[StepStatus], page: Page
) -> Slice[dict[str, Any]]:
    """List steps in the order in which they run, then compensations. `statuses`: empty means any."""
    with database.reading() as conn:
        _, record, definition = _one(conn, by, trace_id, namespace)
    seen = -1 if page.after is None else page.after.int
    wanted = [step for step in record.saga.all_steps if not statuses or known_as(step) & statuses]
    left = [step for step in wanted if step.order > seen][page.offset :]
    found = [step_document(record.saga, definition, step) for step in left[: page.limit + 1]]
    return slice_of(found, page, lambda step: step, lambda step: UUID(int=step["order_index"]))


def get_step(database: Database, by: Principal, trace_id: UUID, span: str, namespace: str | None) -> dict[str, Any]:
    """Return a step. `output_payload` is the output, or the proposal that waits for review.

    `transcript` is None if none was kept.
    """
    with database.reading() as conn:
        _, record, definition = _one(conn, by, trace_id, namespace)
        step = step_of_saga(record, span)
        place = {"trace_id": trace_id, "place": step.order}
        transcript = None if step.report is None else conn.execute(_TRANSCRIPT, place).scalar_one_or_none()
    report = step.report or {}
    return step_document(record.saga, definition, step) | {
        "resolved_arguments": step.arguments,
        "output_payload": step.proposal if step.output is None else step.output,
        "facts": step.facts or {},
        **{name: report.get(name) for name in ("provider", "model", "prompt_ref", "prompt_digest")},
        "tool_calls": report.get("tool_calls", []),
        "transcript": transcript,
        "retries": step.retries,
        "guidance": step.guidance,
        "evidence": step.evidence,
        "correction": step.correction,
    }


def step_of_saga(record: SagaRecord, span: str) -> Step:
    span_id = span_of(span)
    step = None if span_id is None else record.saga.find(span_id)
    if step is None:
        raise NotFound(f"the saga has no step {span[:64]!r}")
    return step


def visible_saga(
    conn: Connection, by: Principal, trace_id: UUID, namespace: str | None = None, *, lock: bool = False
) -> SagaRecord:
    """Return a saga that the caller sees, in `namespace` if one is named. Raise `NotFound`.

    `lock`: lock it for a change. This raises `NotUnderstood` if a newer release wrote it.
    """
    row = _visible_row(conn, _VISIBLE_LOCKED if lock else _VISIBLE, by, trace_id, namespace)
    (record,) = with_steps(conn, [row])
    return understood(record) if lock else record


def visible_step(conn: Connection, by: Principal, trace_id: UUID, span: str, namespace: str | None) -> RowMapping:
    """Return the columns of a step that a decision needs. Raise `NotFound` as `visible_saga` and `step_of_saga` do."""
    wanted = {**_scope_of(by, namespace), "trace_id": trace_id, "span_id": span_of(span)}
    row = conn.execute(_STEP, wanted).mappings().one_or_none()
    if row is None:
        step_of_saga(visible_saga(conn, by, trace_id, namespace), span)
        raise NotFound("the step has just been deleted with its saga")
    return row


def held_pauses(conn: Connection, wanted: Sequence[tuple[Principal, StepRef]]) -> list[UUID | None]:
    """Return the pause of each step; None for a step without one, or that its caller cannot see."""
    refs = [ref for _, ref in wanted]
    places = {"traces": [ref.trace_id for ref in refs], "spans": [span_of(ref.span) for ref in refs]}
    rows = {(row.saga_id, row.span_id): row for row in conn.execute(_HELD_BY, places)} if wanted else {}
    found: list[UUID | None] = []
    for by, ref in wanted:
        row = rows.get((ref.trace_id, span_of(ref.span)))
        visible = row is not None and by.sees(row.namespace) and ref.namespace in (None, row.namespace)
        found.append(row.watch_id if row is not None and visible else None)
    return found


def _one(
    conn: Connection, by: Principal, trace_id: UUID, namespace: str | None = None
) -> tuple[RowMapping, SagaRecord, SagaDefinition]:
    row = _visible_row(conn, _VISIBLE_WITH_NAME, by, trace_id, namespace)
    (record,) = with_steps(conn, [row])
    return row, record, shown_saga(conn, row["definition_id"])


def with_name() -> Select[Any]:
    """Select sagas with the name and version of their definition. A list needs neither steps nor manifests."""
    joined = sagas.join(definitions, definitions.c.id == sagas.c.definition_id)
    return select(sagas, definitions.c.name, definitions.c.version).select_from(joined)


def _visible_row(
    conn: Connection, query: Select[Any], by: Principal, trace_id: UUID, namespace: str | None
) -> RowMapping:
    row = conn.execute(query, {"trace_id": trace_id, **_scope_of(by, namespace)}).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no saga {trace_id.hex} that this key may see")
    return row


def _scope_of(by: Principal, namespace: str | None) -> dict[str, Any]:
    return {"sees_all": by.sees_all, "namespaces": list(by.namespaces), "named": namespace}


# Built once, because every decision uses them.
_IS_VISIBLE = (
    sagas.c.id == bindparam("trace_id", type_=Uuid),
    or_(bindparam("sees_all", type_=Boolean), sagas.c.namespace == any_(bindparam("namespaces", type_=ARRAY(Text)))),
    or_(bindparam("named", type_=Text).is_(None), sagas.c.namespace == bindparam("named", type_=Text)),
)
_TRANSCRIPT = select(saga_transcripts.c.messages).where(
    saga_transcripts.c.saga_id == bindparam("trace_id", type_=Uuid), saga_transcripts.c.place == bindparam("place")
)
_STEP = (
    select(saga_steps.c.step_id, saga_steps.c.status, saga_steps.c.watch_id, sagas.c.definition_id)
    .join_from(saga_steps, sagas, sagas.c.id == saga_steps.c.saga_id)
    .where(*_IS_VISIBLE, saga_steps.c.span_id == bindparam("span_id", type_=BigInteger))
    .execution_options(prepared=True)
)
_HELD_BY = (
    select(saga_steps.c.saga_id, saga_steps.c.span_id, saga_steps.c.watch_id, sagas.c.namespace)
    .join_from(saga_steps, sagas, sagas.c.id == saga_steps.c.saga_id)
    .where(
        saga_steps.c.saga_id == any_(bindparam("traces", type_=ARRAY(Uuid))),
        saga_steps.c.span_id == any_(bindparam("spans", type_=ARRAY(BigInteger))),
    )
    .execution_options(prepared=True)
)
_VISIBLE = select(sagas).where(*_IS_VISIBLE)
_VISIBLE_LOCKED = _VISIBLE.with_for_update(key_share=True)
_VISIBLE_WITH_NAME = with_name().where(*_IS_VISIBLE)


def _steps(record: SagaRecord, definition: SagaDefinition) -> list[dict[str, Any]]:
    return [step_document(record.saga, definition, step) for step in record.saga.all_steps]


def _conditions(wanted: SagaFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.trace_id is not None:
        conditions.append(sagas.c.id == wanted.trace_id)
    if wanted.namespace is not None:
        conditions.append(sagas.c.namespace == wanted.namespace)
    if wanted.statuses or wanted.in_flight or wanted.failed:
        # Literals, because the planner uses a partial index only for known values.
        known = sorted(str(status) for status in _statuses(wanted))
        conditions.append(sagas.c.status.in_([literal_column(f"'{status}'") for status in known]))
    if wanted.needs_operator:
        conditions.append(sagas.c.needs_operator)
    return conditions
