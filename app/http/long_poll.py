"""Long polls: requests that wait until a pause is resolved or their time is over.

A long poll holds a thread, but no database connection and no timer; the process's one subscription wakes it.
"""

import time
from collections.abc import Sequence
from uuid import UUID

from flask import g, request

from app.deps import deps
from app.http.auth import authorize
from domain.identity.access import Permission
from domain.pauses.pause import Pause, Status
from services.pauses.lifecycle import get_pause, get_pauses


def hold(id_: UUID, seconds: float) -> tuple[Pause, bool]:
    """Wait and return the pause; False if the process had no room to wait."""
    if seconds == 0:
        return get_pause(deps().database, g.principal, id_), True
    if not has_room():
        return get_pause(deps().database, g.principal, id_), False
    until = time.monotonic() + seconds
    with deps().subscriber.listening(id_, owner=g.principal.id) as changed:
        # Read after listening starts, so that no change is missed in between.
        pause = get_pause(deps().database, g.principal, id_)
        while (
            pause.status is Status.PENDING and not deps().subscriber.stopped and (left := until - time.monotonic()) > 0
        ):
            if changed.wait(left):
                changed.clear()
                pause = get_pause(deps().database, g.principal, id_)
    # The key may have been revoked during the wait.
    authorize(request, Permission.PAUSE_READ)
    return pause, True


def hold_any(wanted: Sequence[UUID], seconds: float) -> tuple[list[Pause], bool]:
    """Wait until one of the pauses is resolved; return those that the caller may see. This counts as one long poll."""
    if seconds == 0 or not has_room():
        return get_pauses(deps().database, g.principal, wanted), seconds == 0
    until = time.monotonic() + seconds
    with deps().subscriber.listening(*wanted, owner=g.principal.id) as changed:
        found = get_pauses(deps().database, g.principal, wanted)
        while _all_wait(found) and not deps().subscriber.stopped and (left := until - time.monotonic()) > 0:
            if changed.wait(left):
                changed.clear()
                found = get_pauses(deps().database, g.principal, wanted)
    authorize(request, Permission.PAUSE_READ)
    return found, True


def _all_wait(found: Sequence[Pause]) -> bool:
    return bool(found) and all(pause.status is Status.PENDING for pause in found)


# Extra long polls beyond `max_waiters`, in all and per key or person, so that one client cannot exclude the others.
EXTRA, EXTRA_EACH = 40, 8


def has_room(counted: int = 0) -> bool:
    """Tell whether another long poll may wait. `counted` is 1 if the caller's own request is already counted."""
    subscriber, most = deps().subscriber, deps().max_waiters
    held = subscriber.waiting - counted
    extra = min(EXTRA, most // 10)
    return held < most or (held < most + extra and subscriber.waiting_of(g.principal.id) - counted < EXTRA_EACH)
