"""The events of a pause as Server-Sent Events: `pause.created`, perhaps `pause.escalated`, then the outcome.

The ids count from 1. A client that reconnects with `Last-Event-ID` receives the later events.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from flask import Response, g, request

from app.deps import deps
from app.http.auth import authorize
from app.http.problems import HTTPProblem
from app.http.sse import event, is_over, stream_of, wakeups
from domain.identity.access import Permission
from domain.pauses.pause import Event, Pause, Status, created
from domain.pauses.serialization import event_document, pause_document
from domain.values.errors import Forbidden
from services.pauses.lifecycle import get_pause

# Seconds between comments, which keep proxies from closing the stream.
KEEP_ALIVE = 15.0


def event_stream(id_: UUID, last_event_id: str | None) -> Response:
    pause = get_pause(deps().database, g.principal, id_)
    seen = int(last_event_id) if last_event_id and last_event_id in ("1", "2", "3") else 0
    return stream_of(_stream(id_, pause, seen))


def _stream(id_: UUID, pause: Pause, seen: int) -> Iterator[str]:
    began = time.monotonic()
    with wakeups(pause.id) as changed:
        while True:
            pause = get_pause(deps().database, g.principal, id_)
            for number, each in enumerate(_events(pause), 1):
                if number > seen:
                    yield event(each.type, _body(each), number)
                    seen = number
            if pause.status is not Status.PENDING or changed is None or is_over(began):
                return
            if not changed.wait(KEEP_ALIVE):
                yield ": still pending\n\n"
            changed.clear()
            if not _still_authorized():
                return


def _body(happened: Event) -> dict[str, Any]:
    return event_document(happened, pause_document(happened.pause, deps().database.public_url))


def _still_authorized() -> bool:
    try:
        authorize(request, Permission.PAUSE_READ)
    except (HTTPProblem, Forbidden):
        return False
    return True


def _events(pause: Pause) -> Iterator[Event]:
    before = replace(pause, status=Status.PENDING, decision=None, consumption=None)
    yield created(before)
    if pause.escalated_at is not None:
        yield Event("pause.escalated", before, pause.escalated_at)
    if pause.decision is not None:
        yield Event(f"pause.{pause.status}", pause, pause.decision.at)
