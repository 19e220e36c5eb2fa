"""Load sagas with their steps, and save them. Saving writes only the columns that changed."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    RowMapping,
    SmallInteger,
    Update,
    Uuid,
    any_,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.sagas.saga import Saga
from domain.sagas.step import Step
from domain.values.errors import NotUnderstood
from models.records import as_records, insert_records
from models.sagas import CALL_COLUMNS, saga_of, saga_steps, saga_transcripts, saga_values, sagas, step_values
from services.kernel.leases import claimable
from services.kernel.unit_of_work import UnitOfWork
from services.notifications.operators import notify_operators
from services.sagas.audit_entries import record_changes
from services.webhooks.outbox import WebhookEvent, enqueue

# Changed steps that are saved in the same statement as their saga: usually one that ends and the next that begins.
ALONG = 2


@dataclass(frozen=True, slots=True)
class SagaRecord:
    """A saga as it was read, with the columns of its row that no rule needs.

    Attributes:
        due_at, hint_at: as in `models.leases`.
        workers: from `name@version` to the id of the worker's definition when the saga started.
    """

    saga: Saga
    due_at: datetime | None
    hint_at: datetime | None
    definition_id: UUID
    created_by: str
    workers: dict[str, str]


def new_span_id() -> int:
    """Return 63 random bits, never 0. As 16 hex digits they are a span id of W3C Trace Context."""
    return secrets.randbits(63) or 1


def span_of(text: str) -> int | None:
    """Parse a span id. Return None if `text` is none."""
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        return None
    return int(text, 16)


def with_steps(conn: Connection, rows: Sequence[RowMapping]) -> list[SagaRecord]:
    """Load the steps of these rows of `sagas`, by one query."""
    of_each: dict[UUID, list[Any]] = {row["id"]: [] for row in rows}
    if rows:
        for step in conn.execute(_STEPS, {"saga_ids": list(of_each)}).mappings():
            of_each[step["saga_id"]].append(step)
    return [
        SagaRecord(
            saga=saga_of(row, of_each[row["id"]]),
            **{name: row[name] for name in ("due_at", "hint_at", "definition_id", "created_by", "workers")},
        )
        for row in rows
    ]


def understood(record: SagaRecord) -> SagaRecord:
    """Return the record for a change. Raise `NotUnderstood` if a newer release wrote values unknown here."""
    if places := record.saga.unreadable:
        raise NotUnderstood(
            f"this version does not understand {', '.join(places)[:500]} of the saga, which a newer release has written"
        )
    return record


def lock(uow: UnitOfWork, trace_id: UUID) -> SagaRecord | None:
    """Lock the saga's row and return the saga. Its steps change only under this lock."""
    found = with_steps(uow.conn, uow.conn.execute(_LOCKED, {"trace_id": trace_id}).mappings().all())
    return understood(found[0]) if found else None


def keep_transcript(uow: UnitOfWork, trace_id: UUID, step: Step, messages: Sequence[Any]) -> None:
    """Store the transcript of the step's last execution, in place of that of an earlier one."""
    if not messages:
        uow.conn.execute(_FORGET, {"trace_id": trace_id, "place": step.order})
        return
    row = insert(saga_transcripts).values(saga_id=trace_id, place=step.order, messages=list(messages))
    key, new = saga_transcripts.primary_key, {"messages": row.excluded.messages}
    uow.conn.execute(row.on_conflict_do_update(constraint=key, set_=new))


def add_steps(uow: UnitOfWork, sagas_: Sequence[Saga]) -> None:
    rows = [step_values(saga.trace_id, step) for saga in sagas_ for step in saga.all_steps]
    uow.conn.execute(_INSERT_STEPS, {"records": as_records(rows)})


@dataclass(frozen=True, slots=True)
class Schedule:
    """The columns of a saga's schedule and lease. By default it is neither due nor leased."""

    due_at: datetime | None = None
    hint_at: datetime | None = None
    lease_token: UUID | None = None
    leased_until: datetime | None = None

    def values(self) -> dict[str, Any]:
        # `asdict` would copy each value.
        return {name: getattr(self, name) for name in self.__slots__}


def save(uow: UnitOfWork, before: Saga, after: Saga, when: Schedule, notices: Sequence[WebhookEvent] = ()) -> None:
    """Save the changes of a saga and its steps, with its webhooks, log entries and notifications.

    One statement writes the saga and up to `ALONG` steps.
    """
    record_changes(uow, before, after)
    known = {step.span_id: step for step in before.all_steps}
    changed = [step for step in after.all_steps if step.span_id in known and step != known[step.span_id]]
    changes = [_changes(known[step.span_id], step) for step in changed]
    values = {f"new_{name}": value for name, value in {**saga_values(after), **when.values()}.items()}
    values["trace_id"] = after.trace_id
    for place, (step, columns) in enumerate(zip(changed[:ALONG], changes, strict=False)):
        values |= _parameters(f"step{place}", after.trace_id, step, columns)
    names = tuple(tuple(columns) for columns in changes[:ALONG])
    uow.write(_save(names), values)
    for step, columns in zip(changed[ALONG:], changes[ALONG:], strict=True):
        uow.write(_update_step("step", tuple(columns)), _parameters("step", after.trace_id, step, columns))
    if new := [step_values(after.trace_id, step) for step in after.all_steps if step.span_id not in known]:
        uow.write(_INSERT_STEPS, {"records": as_records(new)})
    notify_operators(uow, before, after)
    enqueue(uow, notices)


def _changes(before: Step, after: Step) -> dict[str, Any]:
    """Return the new values of the columns that change."""
    old = step_values(None, before)
    # An earlier release may have written one of them in another way.
    together = () if after.call is before.call else CALL_COLUMNS
    return {name: value for name, value in step_values(None, after).items() if value != old[name] or name in together}


def _parameters(prefix: str, trace_id: UUID, step: Step, columns: Mapping[str, Any]) -> dict[str, Any]:
    values = {f"{prefix}_{name}": value for name, value in columns.items()}
    return values | {f"{prefix}_of": trace_id, f"{prefix}_place": step.order}


# Each value is a parameter of its own. For a join with records PostgreSQL would plan for a hundred rows, and might read
# the whole table.
@cache
def _update_step(prefix: str, names: tuple[str, ...]) -> Update:
    """Return the UPDATE of these columns. Steps change in few ways, so the cache stays at some tens of statements."""
    steps = saga_steps.c
    which = (
        steps.saga_id == bindparam(f"{prefix}_of", type_=Uuid),
        steps.place == bindparam(f"{prefix}_place", type_=SmallInteger),
    )
    # An UPDATE needs a column: without changes, `place` is set to itself.
    new = {name: bindparam(f"{prefix}_{name}", type_=steps[name].type) for name in names or ("place",)}
    return update(saga_steps).where(*which).values(new).execution_options(prepared=True)


@cache
def _save(names: tuple[tuple[str, ...], ...]) -> Update:
    """Return the UPDATE of a saga and its changed steps. `names`: the columns of each step."""
    found = _SAVE
    for place, columns in enumerate(names):
        found = found.add_cte(_update_step(f"step{place}", columns).cte(f"step{place}"))
    return found


def lock_rows(uow: UnitOfWork, wanted: Collection[UUID], *, wait: bool) -> dict[UUID, RowMapping]:
    """Lock the rows of these sagas. `wait`: otherwise those that others have locked are left out."""
    rows = uow.lookups.execute(_ALL if wait else _FREE, {"trace_ids": list(wanted)}).mappings() if wanted else ()
    return {row["id"]: row for row in rows}


def lock_claimable(uow: UnitOfWork, wanted: Collection[UUID]) -> dict[UUID, RowMapping]:
    """Lock the rows of those sagas that a worker may claim. It waits for nothing."""
    rows = uow.lookups.execute(_CLAIMABLE, {"trace_ids": list(wanted)}).mappings() if wanted else ()
    return {row["id"]: row for row in rows}


# Built once: building a statement takes longer than running it.
_ALL = (
    select(sagas)
    .where(sagas.c.id == any_(bindparam("trace_ids", type_=ARRAY(Uuid))))
    .order_by(sagas.c.id)
    .with_for_update(key_share=True)
    .execution_options(prepared=True)
)
_FREE = _ALL.with_for_update(key_share=True, skip_locked=True)
_CLAIMABLE = _FREE.where(claimable(sagas))
_LOCKED = (
    select(sagas)
    .where(sagas.c.id == bindparam("trace_id", type_=Uuid))
    .with_for_update(key_share=True)
    .execution_options(prepared=True)
)
_STEPS = (
    select(saga_steps)
    .where(saga_steps.c.saga_id == any_(bindparam("saga_ids", type_=ARRAY(Uuid))))
    .order_by(saga_steps.c.place)
    .execution_options(prepared=True)
)
_INSERT_STEPS = insert_records(saga_steps).execution_options(prepared=True)
_FORGET = delete(saga_transcripts).where(
    saga_transcripts.c.saga_id == bindparam("trace_id", type_=Uuid),
    saga_transcripts.c.place == bindparam("place", type_=SmallInteger),
)
_CHANGING = (
    "status",
    "ended_at",
    "error",
    "cancelled",
    "needs_operator",
    "stuck",
    "due_at",
    "hint_at",
    "lease_token",
    "leased_until",
)
_SAVE = (
    update(sagas)
    .where(sagas.c.id == bindparam("trace_id", type_=Uuid))
    .values({name: bindparam(f"new_{name}", type_=sagas.c[name].type) for name in _CHANGING})
    .execution_options(prepared=True)
)
