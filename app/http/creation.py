"""The creation of pauses, which the API and all doors share."""

import time

from flask import g

from app.deps import deps
from app.http import metrics
from domain.pauses.creation import PauseRequest
from domain.pauses.door import door_label, door_of
from services.identity.keys import USE_RESOLUTION, record_door
from services.kernel.idempotency import IdempotentRequest
from services.pauses.lifecycle import Created, CreateRequest, check_creation

# The maximum number of keys and doors in the cache; beyond it, the cache is cleared.
CAPACITY = 10_000


def create_pause(wanted: PauseRequest, once: IdempotentRequest | None) -> Created:
    """Create the pause for the caller. Count it, and record the use of its door."""
    request = check_creation(deps().database, CreateRequest(g.principal, wanted, once))
    door = door_label(door_of(wanted.metadata))
    _record_door(door)
    made = deps().creations.do(request)
    if not made.repeated:
        metrics.count_pause(door)
    return made


def _record_door(door: str) -> None:
    use, now = (g.principal.id, door), time.monotonic()
    if now < _next_write.get(use, 0.0):
        return
    record_door(deps().database, g.principal, door)
    if len(_next_write) >= CAPACITY:
        _next_write.clear()
    _next_write[use] = now + USE_RESOLUTION.total_seconds()


# When a use has to be written again. Only a cache: the row decides, for all processes.
_next_write: dict[tuple[str, str], float] = {}
