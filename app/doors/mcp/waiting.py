"""Waits for decisions. Each counts as a long poll; a client can end it without any effect on the pause."""

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from flask import g, request

from app.deps import deps
from app.doors.mcp.messages import Call
from app.doors.mcp.tool_calls import Wait
from app.http.auth import authorize
from app.http.long_poll import has_room
from domain.identity.access import Permission
from domain.pauses.pause import Pause, Status
from services.pauses.lifecycle import get_pause

# Seconds between two signs of life. Clients and proxies give up a silent call after 30 to 60 s.
PROGRESS_EVERY = 10.0


@dataclass(slots=True)
class _Waiting:
    changed: threading.Event
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of this process, by key, session and request id, for clients that cancel a request by a notification.

    A notification that reaches another process has no effect: the wait then ends within a minute by itself.
    """

    _waiting: dict[tuple[Any, ...], _Waiting] = field(default_factory=dict)

    def wait(self, call: Call, wanted: Wait) -> Generator[float, None, Pause]:
        """Wait, and return the pause. Yield the seconds waited so far, at once and then every few seconds."""
        pause, began = wanted.pause, time.monotonic()
        if not has_room():
            return pause
        with deps().subscriber.listening(pause.id, owner=g.principal.id) as changed:
            waiting, place = _Waiting(changed), (g.principal.id, call.session, call.id)
            self._waiting[place] = waiting
            try:
                yield 0.0
                # Read after listening starts, so that no change is missed in between.
                pause = get_pause(deps().database, g.principal, pause.id)
                while pause.status is Status.PENDING and not (waiting.cancelled or deps().subscriber.stopped):
                    waited = time.monotonic() - began
                    if waited >= wanted.seconds:
                        break
                    if changed.wait(min(PROGRESS_EVERY, wanted.seconds - waited)):
                        changed.clear()
                        pause = get_pause(deps().database, g.principal, pause.id)
                    elif wanted.seconds - waited > PROGRESS_EVERY:
                        yield time.monotonic() - began
            finally:
                if self._waiting.get(place) is waiting:
                    del self._waiting[place]
        # The key may have been revoked during the wait.
        authorize(request, Permission.PAUSE_CREATE)
        return pause

    def cancel(self, session: str | None, request_id: Any) -> None:
        """End the caller's wait. Without a session nothing tells its clients apart, so nothing is ended."""
        if session is None or not isinstance(request_id, str | int):
            return
        waiting = self._waiting.get((g.principal.id, session, request_id))
        if waiting is not None:
            waiting.cancelled = True
            waiting.changed.set()
