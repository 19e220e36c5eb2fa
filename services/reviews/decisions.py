"""Decide on pauses, one or many at once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from domain.identity.access import Principal
from domain.pauses.pause import STEP, Approve, Cancel, Pause, Reject, honours
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, Fault, Invalid, Refusal, Unsettled
from models.sagas import saga_steps, sagas
from services.kernel.connection_pool import DatabaseAway
from services.kernel.unit_of_work import Store, Tx
from services.pauses.lifecycle import carry_out
from services.sagas.plan import Plan
from services.sagas.repository import with_steps

log = logging.getLogger(__name__)

# Of many decisions, after so many that met no database the rest are not tried: each may wait for ten seconds. One may
# be a review that somebody else holds.
AWAY = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """One of many decisions."""

    watch_id: str
    command: Approve | Reject


def decide_pause(store: Store, by: Principal, watch_id: str, command: Approve | Reject | Cancel) -> dict[str, Any]:
    """The pause's document after the command. Raises `AlreadyResolved` when another outcome was there first."""
    with store.transaction() as tx:
        pause, _ = decide_in(store, tx, by, watch_id, command)
    # Only after the commit: an expiry that this request was the first to notice stands, although the request lost.
    return decided(store, pause, command)


def decide_in(
    store: Store, tx: Tx, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> tuple[Pause, bool]:
    """The pause after the command, and whether this changed it. It is locked until the transaction ends."""
    before, after = carry_out(store, tx, by, watch_id, command)
    _check_edit(store, tx, before, after)
    return after, after != before


def decided(store: Store, pause: Pause, command: Approve | Reject | Cancel) -> dict[str, Any]:
    document = pause_document(pause, store.public_url)
    if not honours(pause, command):
        raise AlreadyResolved(document)
    return document


def decide_many(store: Store, by: Principal, items: Sequence[Wish]) -> list[dict[str, Any] | Refusal]:
    """What became of each, in their order. Each is a transaction of its own: one that fails undoes no other.

    Raises `DatabaseAway` where nothing became of any. Otherwise those that it kept from being decided are `Unsettled`.
    """
    outcomes: list[dict[str, Any] | Refusal] = []
    away: list[DatabaseAway] = []
    for wish in items:
        if len(away) == AWAY:
            outcomes.append(Unsettled("not tried, as the database was away: send it again"))
            continue
        try:
            outcomes.append(decide_pause(store, by, wish.watch_id, wish.command))
        except Refusal as refusal:
            outcomes.append(refusal)
        except DatabaseAway as error:
            log.warning("one of many decisions: %s", error)
            away.append(error)
            outcomes.append(Unsettled())
    if away and all(isinstance(outcome, Unsettled) for outcome in outcomes):
        raise away[-1]
    return outcomes


def _check_edit(store: Store, tx: Tx, before: Pause, after: Pause) -> None:
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
