"""The creation of pauses, which the API and all doors share."""

from flask import g

from app.deps import deps
from app.http import metrics
from domain.pauses.creation import PauseRequest
from domain.pauses.door import door_of
from services.kernel.idempotency import IdempotentRequest
from services.pauses.lifecycle import Created, CreateRequest, check_creation


def create_pause(wanted: PauseRequest, once: IdempotentRequest | None) -> Created:
    """Create the pause for the caller, and count it."""
    request = check_creation(deps().database, CreateRequest(g.principal, wanted, once))
    made = deps().creations.do(request)
    if not made.repeated:
        metrics.count_pause(door_of(wanted.metadata))
    return made
