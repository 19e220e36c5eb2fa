"""A saga with its steps, out of its rows and back: only what changed is written."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, insert, select, update

from domain.saga import Saga
from domain.step import Step
from models.sagas import saga_of, saga_steps, saga_values, sagas, step_values
from services.transaction import Tx


@dataclass(frozen=True, slots=True)
class Stored:
    """A saga as it was read, and what of its row no rule looks at.

    Attributes:
        workers: from `name@version` to the id of the definition that the saga started with.
    """

    saga: Saga
    definition_id: UUID
    created_by: str
    workers: dict[str, str]


def new_span_id() -> int:
    """63 random bits, never 0: 16 hex digits, as W3C Trace Context wants."""
    return secrets.randbits(63) or 1


def span_text(span_id: int) -> str:
    return f"{span_id:016x}"


def span_of(text: str) -> int | None:
    """None where the text is no span id."""
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        return None
    return int(text, 16)


def read(conn: Connection, query: Select[Any]) -> list[Stored]:
    """The sagas that the query (of `sagas`) finds, in its order."""
    rows = conn.execute(query).mappings().all()
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    of_each: dict[UUID, list[Any]] = {id_: [] for id_ in ids}
    steps = select(saga_steps).where(saga_steps.c.saga_id.in_(ids)).order_by(saga_steps.c.place)
    for step in conn.execute(steps).mappings():
        of_each[step["saga_id"]].append(step)
    return [
        Stored(saga_of(row, of_each[row["id"]]), row["definition_id"], row["created_by"], row["workers"])
        for row in rows
    ]


def lock(tx: Tx, trace_id: UUID) -> Stored | None:
    """With the saga's row locked: its steps change only under this lock."""
    found = read(tx.conn, select(sagas).where(sagas.c.id == trace_id).with_for_update())
    return found[0] if found else None


def add_steps(tx: Tx, saga: Saga) -> None:
    tx.conn.execute(insert(saga_steps), [step_values(saga.trace_id, step) for step in (*saga.steps, *saga.undos)])


def save(tx: Tx, before: Saga, after: Saga, **more: Any) -> None:
    """`more`: other columns of the saga's row."""
    known = {step.span_id: step for step in (*before.steps, *before.undos)}
    new: list[dict[str, Any]] = []
    for step in (*after.steps, *after.undos):
        if step.span_id not in known:
            new.append(step_values(after.trace_id, step))
        elif step != known[step.span_id]:
            _update_step(tx, after.trace_id, known[step.span_id], step)
    if new:
        tx.conn.execute(insert(saga_steps), new)
    changed = {name: value for name, value in saga_values(after).items() if value != saga_values(before)[name]} | more
    if changed:
        tx.conn.execute(update(sagas).where(sagas.c.id == after.trace_id).values(changed))


def _update_step(tx: Tx, saga_id: UUID, before: Step, after: Step) -> None:
    old, new = step_values(saga_id, before), step_values(saga_id, after)
    changed = {name: value for name, value in new.items() if value != old[name]}
    this = saga_steps.c
    where = this.saga_id == saga_id, this.place == after.order, this.status == old["status"]
    if tx.conn.execute(update(saga_steps).where(*where).values(changed)).rowcount != 1:
        raise RuntimeError(f"step {span_text(after.span_id)} was changed without its saga's lock")
