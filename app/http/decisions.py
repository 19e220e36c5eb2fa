"""Decisions on pauses, which the API, the dashboard and all doors share."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import g

from app.deps import deps
from domain.identity.access import Principal
from domain.pauses.pause import Approve, Cancel, Reject
from domain.pauses.serialization import pause_id
from domain.values.errors import DomainError, NotFound
from services.reviews.decisions import DecisionRequest, decide_many
from services.reviews.shared_decisions import DecisionCall


def decide_pause(by: Principal, id_: UUID, command: Approve | Reject | Cancel) -> dict[str, Any]:
    """Return the pause's document after the command. Raise `AlreadyResolved` if another outcome was first."""
    return deps().decisions.do(DecisionCall(by, id_, command)).document


def decide_each(items: Sequence[tuple[str, Approve | Reject]]) -> list[dict[str, Any] | DomainError]:
    """Return one document or error per item, in order. Text that is not the id of a pause yields `NotFound`."""
    ids = [_parsed(watch_id) for watch_id, _ in items]
    requests = [
        DecisionRequest(id_, command) for id_, (_, command) in zip(ids, items, strict=True) if isinstance(id_, UUID)
    ]
    outcomes = iter(decide_many(deps().database, g.principal, requests))
    return [next(outcomes) if isinstance(id_, UUID) else id_ for id_ in ids]


def _parsed(watch_id: str) -> UUID | NotFound:
    try:
        return pause_id(watch_id)
    except NotFound as error:
        return error
