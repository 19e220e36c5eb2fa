"""What reviewers do with a review besides voting: say that they work on it, and decide on many at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update

from domain.identity.access import Principal
from domain.log.audit import digest
from domain.pauses.pause import Approve, Pause, Reject, Status
from domain.pauses.review_claim import Claim
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, Claimed, Refusal, Unsettled
from models.pauses import claim_record, pauses
from services.kernel.connection_pool import DatabaseAway
from services.kernel.unit_of_work import Store, Tx
from services.pauses.lifecycle import actor, decide_pause, locked_pause

log = logging.getLogger(__name__)

# Of many decisions, after so many that met no database the rest are not tried: each may wait for ten seconds. One may
# be a review that somebody else holds.
AWAY = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """One of many decisions."""

    watch_id: str
    command: Approve | Reject


def claim(store: Store, by: Principal, watch_id: str, take_over: bool = False) -> dict[str, Any]:
    """The pause's document, with the claim. Raises `Claimed` while it is somebody else's, `AlreadyResolved`."""

    def claimed(tx: Tx, pause: Pause) -> Claim:
        held = pause.claim
        if held is not None and held.by.id != by.id and held.until > tx.now and not take_over:
            raise Claimed(f"{held.by.name} works on this review: ask them, or take it over")
        return Claim(actor(by), tx.now)

    return _change(store, by, watch_id, "review.claimed", claimed)


def unclaim(store: Store, by: Principal, watch_id: str) -> dict[str, Any]:
    """Nothing changes where the claim is not the caller's."""

    def released(_: Tx, pause: Pause) -> Claim | None:
        return pause.claim if pause.claim is not None and pause.claim.by.id != by.id else None

    return _change(store, by, watch_id, "review.released", released)


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


def _change(
    store: Store, by: Principal, watch_id: str, type_: str, changed: Callable[[Tx, Pause], Claim | None]
) -> dict[str, Any]:
    with store.transaction() as tx:
        pause = locked_pause(tx, by, watch_id)
        before = pause_document(pause, store.public_url)
        if pause.status is not Status.PENDING:
            raise AlreadyResolved(before)
        claim = changed(tx, pause)
        if claim == pause.claim:
            return before
        after = pause_document(replace(pause, claim=claim), store.public_url)
        record = None if claim is None else claim_record(claim)
        tx.conn.execute(update(pauses).where(pauses.c.id == pause.id).values(claim=record))
        facts = {"claim": None if record is None else digest(record)}
        tx.record(by, pause.namespace, type_, watch_id, before=before, after=after, row=facts)
        tx.wakes.append(pause.id)
    return after
