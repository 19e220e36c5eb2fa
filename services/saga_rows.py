"""A saga with its steps, out of its rows and back: only what changed is written."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, SmallInteger, Uuid, any_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.saga import Saga
from domain.step import Step
from models.records import as_records, insert_records
from models.sagas import saga_of, saga_steps, saga_transcripts, saga_values, sagas, step_values
from services.outbox import Notice, announcing, tell
from services.transaction import Tx


@dataclass(frozen=True, slots=True)
class Stored:
    """A saga as it was read, and what of its row no rule looks at.

    Attributes:
        due_at, hint_at: as in `models.due`.
        workers: from `name@version` to the id of the definition that the saga started with.
    """

    saga: Saga
    due_at: datetime | None
    hint_at: datetime | None
    definition_id: UUID
    created_by: str
    workers: dict[str, str]


def new_span_id() -> int:
    """63 random bits, never 0: 16 hex digits, as W3C Trace Context wants."""
    return secrets.randbits(63) or 1


def span_of(text: str) -> int | None:
    """None where the text is no span id."""
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        return None
    return int(text, 16)


def with_steps(conn: Connection, rows: Sequence[RowMapping]) -> list[Stored]:
    """`rows`: of `sagas`."""
    of_each: dict[UUID, list[Any]] = {row["id"]: [] for row in rows}
    if rows:
        for step in conn.execute(_STEPS, {"saga_ids": list(of_each)}).mappings():
            of_each[step["saga_id"]].append(step)
    return [
        Stored(
            saga=saga_of(row, of_each[row["id"]]),
            **{name: row[name] for name in ("due_at", "hint_at", "definition_id", "created_by", "workers")},
        )
        for row in rows
    ]


def lock(tx: Tx, trace_id: UUID) -> Stored | None:
    """With the saga's row locked: its steps change only under this lock."""
    found = with_steps(tx.conn, tx.conn.execute(_LOCKED, {"trace_id": trace_id}).mappings().all())
    return found[0] if found else None


def lock_leased(tx: Tx, trace_id: UUID, token: UUID) -> Stored | None:
    """None when the lease is another's by now."""
    wanted = {"trace_id": trace_id, "token": token}
    found = with_steps(tx.conn, tx.conn.execute(_LEASED, wanted).mappings().all())
    return found[0] if found else None


def keep_transcript(tx: Tx, trace_id: UUID, step: Step, messages: Sequence[Any]) -> None:
    """Of the step's last execution: what an earlier one left is not there any more."""
    if not messages:
        tx.conn.execute(_FORGET, {"trace_id": trace_id, "place": step.order})
        return
    row = insert(saga_transcripts).values(saga_id=trace_id, place=step.order, messages=list(messages))
    key, new = saga_transcripts.primary_key, {"messages": row.excluded.messages}
    tx.conn.execute(row.on_conflict_do_update(constraint=key, set_=new))


def add_steps(tx: Tx, saga: Saga) -> None:
    rows = [step_values(saga.trace_id, step) for step in saga.all_steps]
    tx.conn.execute(_INSERT_STEPS, {"records": as_records(rows)})


@dataclass(frozen=True, slots=True)
class When:
    """What is due when, and who is at it; by default nothing, and nobody."""

    due_at: datetime | None = None
    hint_at: datetime | None = None
    lease_token: UUID | None = None
    leased_until: datetime | None = None

    def values(self) -> dict[str, Any]:
        # Not `asdict`: it copies each value.
        return {name: getattr(self, name) for name in self.__slots__}


def save(tx: Tx, before: Saga, after: Saga, when: When, notices: Sequence[Notice] = ()) -> None:
    """One statement for the saga and the one step that usually changes with it, also with who is to be told."""
    known = {step.span_id: step for step in before.all_steps}
    changed = [step for step in after.all_steps if step.span_id in known and step != known[step.span_id]]
    values = {f"new_{name}": value for name, value in {**saga_values(after), **when.values()}.items()}
    values["trace_id"] = after.trace_id
    save_, save_and_tell = (_SAVE, _SAVE_AND_TELL) if not changed else (_SAVE_STEP, _SAVE_STEP_AND_TELL)
    if changed:
        values |= _step_parameters(after.trace_id, changed[0])
    if notices:
        tell(tx, notices, save_and_tell, values)
    else:
        tx.conn.execute(save_, values)
    for step in changed[1:]:
        tx.conn.execute(_UPDATE_STEP, _step_parameters(after.trace_id, step))
    if new := [step_values(after.trace_id, step) for step in after.all_steps if step.span_id not in known]:
        tx.conn.execute(_INSERT_STEPS, {"records": as_records(new)})


def _step_parameters(trace_id: UUID, step: Step) -> dict[str, Any]:
    values = step_values(trace_id, step)
    return {"step_of": trace_id, "step_place": step.order} | {f"step_{name}": values[name] for name in _OF_A_STEP}


# Built once: building a statement takes longer than running it.
_LOCKED = select(sagas).where(sagas.c.id == bindparam("trace_id", type_=Uuid)).with_for_update()
_LEASED = _LOCKED.where(sagas.c.lease_token == bindparam("token", type_=Uuid))
_STEPS = (
    select(saga_steps)
    .where(saga_steps.c.saga_id == any_(bindparam("saga_ids", type_=ARRAY(Uuid))))
    .order_by(saga_steps.c.place)
)
_INSERT_STEPS = insert_records(saga_steps)
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
    "due_at",
    "hint_at",
    "lease_token",
    "leased_until",
)
# What becomes of a step; the rest of its row is what it is.
_OF_A_STEP = tuple(
    column.name
    for column in saga_steps.columns
    if column.name not in ("saga_id", "place", "span_id", "compensates", "step_id")
)
# Parameters one by one: joined with records, PostgreSQL plans for a hundred steps, and may read the whole table.
_UPDATE_STEP = (
    update(saga_steps)
    .where(
        saga_steps.c.saga_id == bindparam("step_of", type_=Uuid),
        saga_steps.c.place == bindparam("step_place", type_=SmallInteger),
    )
    .values({name: bindparam(f"step_{name}", type_=saga_steps.c[name].type) for name in _OF_A_STEP})
)
_SAVE = (
    update(sagas)
    .where(sagas.c.id == bindparam("trace_id", type_=Uuid))
    .values({name: bindparam(f"new_{name}", type_=sagas.c[name].type) for name in _CHANGING})
)
_SAVE_STEP = _SAVE.add_cte(_UPDATE_STEP.cte("step"))
_SAVE_AND_TELL, _SAVE_STEP_AND_TELL = announcing(_SAVE), announcing(_SAVE_STEP)
