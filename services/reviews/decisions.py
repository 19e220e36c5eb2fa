"""Decide on pauses, one or many at once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from domain.identity.access import Principal
from domain.pauses.pause import STEP, Approve, Cancel, Pause, Reject, is_satisfied_by
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, DecisionUnknown, DomainError, FieldError, Invalid
from models.sagas import saga_steps, sagas
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.lifecycle import carry_out
from services.sagas.plan import Plan
from services.sagas.repository import with_steps

log = logging.getLogger(__name__)

# After this many decisions that failed for lack of a database, the others are not tried: each may wait ten seconds. It
# is not 1, because one failure may be a locked row.
AWAY = 2


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """One of many decisions."""

    watch_id: str
    command: Approve | Reject


def decide_pause(
    database: Database, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> dict[str, Any]:
    """Decide on a pause; return its document. Raise `AlreadyResolved` if it already has another outcome."""
    with database.transaction() as uow:
        pause, _ = decide_in(database, uow, by, watch_id, command)
    # Raise only after the commit: this request may have been the first to notice an expiry, which must be stored.
    return decided(database, pause, command)


def decide_in(
    database: Database, uow: UnitOfWork, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> tuple[Pause, bool]:
    """Return the pause after the command, and whether it changed. It is locked until the transaction ends."""
    before, after = carry_out(database, uow, by, watch_id, command)
    _check_edit(database, uow, before, after)
    return after, after != before


def decided(database: Database, pause: Pause, command: Approve | Reject | Cancel) -> dict[str, Any]:
    document = pause_document(pause, database.public_url)
    if not is_satisfied_by(pause, command):
        raise AlreadyResolved(document)
    return document


def decide_many(
    database: Database, by: Principal, items: Sequence[DecisionRequest]
) -> list[dict[str, Any] | DomainError]:
    """Return one result per decision, in order. Each decision has its own transaction, so a failure undoes no other.

    A decision that the database failed yields `DecisionUnknown`. Raise `DatabaseUnavailable` if it failed all of them.
    """
    outcomes: list[dict[str, Any] | DomainError] = []
    away: list[DatabaseUnavailable] = []
    for request in items:
        if len(away) == AWAY:
            outcomes.append(DecisionUnknown("not tried, because the database was unavailable: send it again"))
            continue
        try:
            outcomes.append(decide_pause(database, by, request.watch_id, request.command))
        except DomainError as domain_error:
            outcomes.append(domain_error)
        except DatabaseUnavailable as error:
            log.warning("the outcome of one of many decisions is unknown: %s", error)
            away.append(error)
            outcomes.append(DecisionUnknown())
    if away and all(isinstance(outcome, DecisionUnknown) for outcome in outcomes):
        raise away[-1]
    return outcomes


def _check_edit(database: Database, uow: UnitOfWork, before: Pause, after: Pause) -> None:
    """Raise `Invalid`, which rolls the decision back, if the policy denies the edit. `after` fits its schema."""
    if after.kind != STEP or after.arguments_digest == before.arguments_digest:
        return
    # The saga needs no lock: while the pause is locked, nothing that the policy reads can change.
    query = select(sagas).join(saga_steps, saga_steps.c.saga_id == sagas.c.id)
    rows = uow.conn.execute(query.where(saga_steps.c.watch_id == after.id)).mappings().all()
    for record in with_steps(uow.conn, rows):
        step = next(step for step in record.saga.steps if step.watch_id == after.id)
        subject: dict[str, Any] = after.arguments or {}
        denied = Plan(database, uow, record).edit_refused(record.saga, step, subject)
        if denied is not None:
            raise Invalid([FieldError("arguments", f"{denied.message}: nothing is decided, the step is still held")])
