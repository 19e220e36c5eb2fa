"""Several decisions at once, on pauses whose ids a caller wrote."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import g

from app.deps import deps
from domain.pauses.pause import Approve, Reject
from domain.pauses.serialization import pause_id
from domain.values.errors import DomainError, NotFound
from services.reviews.decisions import DecisionRequest, decide_many


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
