"""Claim a review, which shows others who works on it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import update

from domain.identity.access import Principal
from domain.log.audit import digest
from domain.pauses.pause import Pause, Status
from domain.pauses.review_claim import ReviewClaim
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, Claimed
from models.pauses import claim_record, pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.lifecycle import actor, lock_pause


def claim(database: Database, by: Principal, id_: UUID, take_over: bool = False) -> dict[str, Any]:
    """Claim a review; return the pause's document. Raise `Claimed` if another person has it, `AlreadyResolved`."""

    def claimed(uow: UnitOfWork, pause: Pause) -> ReviewClaim:
        held = pause.claim
        if held is not None and held.by.id != by.id and held.until > uow.now and not take_over:
            raise Claimed(f"{held.by.name} works on this review: ask them, or take it over")
        return ReviewClaim(actor(by), uow.now)

    return _change(database, by, id_, "review.claimed", claimed)


def unclaim(database: Database, by: Principal, id_: UUID) -> dict[str, Any]:
    """Release the caller's claim. Another person's claim stays."""

    def released(_: UnitOfWork, pause: Pause) -> ReviewClaim | None:
        return pause.claim if pause.claim is not None and pause.claim.by.id != by.id else None

    return _change(database, by, id_, "review.released", released)


def _change(
    database: Database,
    by: Principal,
    id_: UUID,
    type_: str,
    changed: Callable[[UnitOfWork, Pause], ReviewClaim | None],
) -> dict[str, Any]:
    with database.transaction() as uow:
        pause = lock_pause(uow, by, id_)
        before = pause_document(pause, database.public_url)
        if pause.status is not Status.PENDING:
            raise AlreadyResolved(before)
        claim = changed(uow, pause)
        if claim == pause.claim:
            return before
        after = pause_document(replace(pause, claim=claim), database.public_url)
        record = None if claim is None else claim_record(claim)
        uow.conn.execute(update(pauses).where(pauses.c.id == pause.id).values(claim=record))
        facts = {"claim": None if record is None else digest(record)}
        uow.record(by, pause.namespace, type_, before["watchId"], before=before, after=after, row=facts)
        uow.wakes.append(pause.id)
    return after
