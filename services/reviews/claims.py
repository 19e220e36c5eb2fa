"""Claim a review: say that one works on it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import update

from domain.identity.access import Principal
from domain.log.audit import digest
from domain.pauses.pause import Pause, Status
from domain.pauses.review_claim import Claim
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, Claimed
from models.pauses import claim_record, pauses
from services.kernel.unit_of_work import Store, Tx
from services.pauses.lifecycle import actor, locked_pause


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
