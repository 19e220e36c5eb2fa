"""Decide on pauses, one or many at once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.identity.access import Principal
from domain.pauses.pause import STEP, Approve, Cancel, Pause, Reject, is_satisfied_by
from domain.values.errors import AlreadyResolved, DecisionUnknown, DomainError, FieldError, Invalid
from models.sagas import saga_steps, sagas
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, UnitOfWork
from services.manifests.definitions import load_saga
from services.pauses.changes import PauseChange, apply
from services.pauses.lifecycle import lock_pause
from services.sagas.plan import StepPlan
from services.sagas.repository import with_steps

log = logging.getLogger(__name__)

# After this many decisions that failed for lack of a database, the others are not tried: each may wait ten seconds. It
# is not 1, because one failure may be a locked row.
AWAY = 2


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """One of many decisions."""

    id: UUID
    command: Approve | Reject


def decide_pause(database: Database, by: Principal, id_: UUID, command: Approve | Reject | Cancel) -> dict[str, Any]:
    """Return the pause's document after the command. Raise `AlreadyResolved` if another outcome was first."""
    with database.transaction() as uow:
        change = decide_in(database, uow, by, id_, command)
    # After the commit: an expiry that this request was the first to notice stays, although the request fails.
    check_satisfied(change, command)
    return change.document


def decide_in(
    database: Database, uow: UnitOfWork, by: Principal, id_: UUID, command: Approve | Reject | Cancel
) -> PauseChange:
    """Return the pause after the command, locked until the transaction ends."""
    before = lock_pause(uow, by, id_)
    change = apply(database, uow, by, before, command)
    _check_edit(database, uow, before, change.pause)
    return change


def check_satisfied(change: PauseChange, command: Approve | Reject | Cancel) -> None:
    """Raise `AlreadyResolved` unless the outcome is what the command asked for."""
    if not is_satisfied_by(change.pause, command):
        raise AlreadyResolved(change.document)


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
            outcomes.append(decide_pause(database, by, request.id, request.command))
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
        definition = load_saga(uow.conn, record.definition_id)
        denied = StepPlan(database, uow, record, definition, record.saga, step).edit_refused(subject)
        if denied is not None:
            raise Invalid([FieldError("arguments", f"{denied.message}: nothing is decided, the step is still held")])
