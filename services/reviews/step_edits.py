"""A reviewer's edit of what a step holds, judged by the step's policy before it counts: a mistake is told to who made
it, and undoes no saga."""

from typing import Any

from sqlalchemy import select

from domain.pauses.pause import STEP, Pause
from domain.values.errors import Fault, Invalid
from models.sagas import saga_steps, sagas
from services.kernel.unit_of_work import Store, Tx
from services.sagas.plan import Plan
from services.sagas.repository import with_steps


def check_edit(store: Store, tx: Tx, before: Pause, after: Pause) -> None:
    """Raises `Invalid`, which undoes it. `after`: the pause with the edit, which fits its schema."""
    if after.kind != STEP or after.arguments_digest == before.arguments_digest:
        return
    # Not locked: as long as the pause is, which holds the step, nothing that its policy sees can change.
    query = select(sagas).join(saga_steps, saga_steps.c.saga_id == sagas.c.id)
    rows = tx.conn.execute(query.where(saga_steps.c.watch_id == after.id)).mappings().all()
    for stored in with_steps(tx.conn, rows):
        step = next(step for step in stored.saga.steps if step.watch_id == after.id)
        subject: dict[str, Any] = after.arguments or {}
        refused = Plan(store, tx, stored).edit_refused(stored.saga, step, subject)
        if refused is not None:
            raise Invalid([Fault("arguments", f"{refused.message}: nothing is decided, the step is still held")])
