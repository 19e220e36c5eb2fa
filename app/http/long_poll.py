"""Held requests: answered when the pause is resolved, or when the time is up. A held request has a thread, no database
connection and no timer; the process's one subscription wakes it."""

import time
from collections.abc import Sequence

from flask import g, request

from app.deps import deps
from app.http.auth import authorize
from domain.identity.access import Permission
from domain.pauses.pause import Pause, Status
from domain.values import ids
from services.pauses.lifecycle import get_pause, get_pauses


def hold(watch_id: str, seconds: float) -> tuple[Pause, bool]:
    """The pause as it is when the wait is over; False when there was no room to wait."""
    id_ = ids.parse(ids.WATCH, watch_id)
    if seconds == 0 or id_ is None:
        return get_pause(deps().database, g.principal, watch_id), True
    if not has_room():
        return get_pause(deps().database, g.principal, watch_id), False
    until = time.monotonic() + seconds
    with deps().subscriber.listening(id_, owner=g.principal.id) as changed:
        # Read only after listening began: a change in between is not missed.
        pause = get_pause(deps().database, g.principal, watch_id)
        while (
            pause.status is Status.PENDING and not deps().subscriber.stopped and (left := until - time.monotonic()) > 0
        ):
            if changed.wait(left):
                changed.clear()
                pause = get_pause(deps().database, g.principal, watch_id)
    # A key that was revoked in the meantime hears nothing any more.
    authorize(request, Permission.PAUSE_READ)
    return pause, True


def hold_any(watch_ids: Sequence[str], seconds: float) -> tuple[list[Pause], bool]:
    """Those of the pauses that the caller sees, once one of them is resolved; otherwise as `hold`. It is one waiter."""
    wanted = [id_ for id_ in (ids.parse(ids.WATCH, watch_id) for watch_id in watch_ids) if id_ is not None]
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


# Requests that are held beyond `max_waiters`, in all and of one key or person: whoever holds all others does not keep
# the rest out.
EXTRA, EXTRA_EACH = 40, 8


def has_room(counted: int = 0) -> bool:
    """`counted`: 1 where the asking request is among those that are held."""
    subscriber, most = deps().subscriber, deps().max_waiters
    held = subscriber.waiting - counted
    extra = min(EXTRA, most // 10)
    return held < most or (held < most + extra and subscriber.waiting_of(g.principal.id) - counted < EXTRA_EACH)
