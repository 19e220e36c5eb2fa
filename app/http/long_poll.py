"""Long polls: requests that wait until a pause is resolved or their time is over.

A long poll holds no database connection and no timer of its own; the process's one subscription wakes it. A request
that the server can park holds no thread either; any other one does.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from flask import g, request

from app.deps import deps
from app.http.auth import authorize
from app.http.parking import WAIT, Parked, Wait
from domain.identity.access import Permission
from domain.pauses.pause import Pause, Status
from services.pauses.lifecycle import get_pause, get_pauses

T = TypeVar("T")


def hold(id_: UUID, seconds: float) -> tuple[Pause, bool]:
    """Wait and return the pause; False if the process had no room to wait."""
    return _hold([id_], seconds, lambda: get_pause(deps().database, g.principal, id_), _is_pending)


def hold_any(wanted: Sequence[UUID], seconds: float) -> tuple[list[Pause], bool]:
    """Wait until one of the pauses is resolved; return those that the caller may see. This counts as one long poll."""
    return _hold(wanted, seconds, lambda: get_pauses(deps().database, g.principal, wanted), _all_wait)


def _is_pending(pause: Pause) -> bool:
    return pause.status is Status.PENDING


def _all_wait(found: Sequence[Pause]) -> bool:
    return bool(found) and all(map(_is_pending, found))


def _hold(
    ids: Sequence[UUID], seconds: float, read: Callable[[], T], is_waiting: Callable[[T], bool]
) -> tuple[T, bool]:
    """Return what `read` returns once it waits no more, and whether there was room. Raises `Parked`."""
    if seconds == 0:
        return read(), True
    parked: Wait | None = request.environ.get(WAIT)
    if parked is None:
        return _hold_thread(ids, seconds, read, is_waiting)
    if not parked.joined and not has_room(threads=0):
        return read(), False
    subscriber = deps().subscriber
    parked.join(subscriber, ids, g.principal.id, seconds)
    found = read()
    if is_waiting(found) and not subscriber.stopped and not parked.is_over:
        raise Parked
    return found, True


def _hold_thread(
    ids: Sequence[UUID], seconds: float, read: Callable[[], T], is_waiting: Callable[[T], bool]
) -> tuple[T, bool]:
    if not has_room():
        return read(), False
    until, subscriber = time.monotonic() + seconds, deps().subscriber
    with subscriber.listening(*ids, owner=g.principal.id) as changed:
        # Read after listening starts, so that no change is missed in between.
        found = read()
        while is_waiting(found) and not subscriber.stopped and (left := until - time.monotonic()) > 0:
            if changed.wait(left):
                changed.clear()
                found = read()
    # The key may have been revoked during the wait.
    authorize(request, Permission.PAUSE_READ)
    return found, True


# Extra places beyond the limits, in all and per key or person, so that one client cannot exclude the others.
EXTRA, EXTRA_EACH = 40, 8


def has_room(counted: int = 0, threads: int = 1) -> bool:
    """Tell whether another long poll or stream may wait.

    Args:
        counted: 1 if the caller's own request is already counted.
        threads: 0 if it holds no thread while it waits.
    """
    subscriber, limits = deps().subscriber, deps()
    few = subscriber.waiting_of(g.principal.id) - counted < EXTRA_EACH
    return _fits(subscriber.waiting - counted, limits.max_waiters, few) and (
        threads == 0 or _fits(subscriber.in_threads - counted, limits.max_streams, few)
    )


def _fits(held: int, most: int, few: bool) -> bool:
    return held < most or (few and held < most + min(EXTRA, most // 10))
