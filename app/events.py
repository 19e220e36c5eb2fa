"""A pause as Server-Sent Events: `pause.created`, perhaps `pause.escalated`, then its outcome. The ids count from 1: a
client that comes back with `Last-Event-ID` gets what it has not seen."""

import time
from collections.abc import Iterator
from dataclasses import replace

from flask import Response, g, request, stream_with_context

from app.auth import authorize
from app.deps import deps
from app.hold import has_room
from app.problems import EdgeError
from domain.access import Permission
from domain.document import event_document
from domain.errors import Forbidden
from domain.json_value import encode
from domain.pause import Event, Pause, Status, created
from services.pauses import get_pause

# The stream ends after this; EventSource comes back by itself, with Last-Event-ID. Seconds.
STREAM_FOR = 300.0
# A comment in between tells proxies that the stream lives. Seconds.
KEEP_ALIVE = 15.0


def event_stream(watch_id: str, last_event_id: str | None) -> Response:
    pause = get_pause(deps().store, g.principal, watch_id)
    seen = int(last_event_id) if last_event_id and last_event_id in ("1", "2", "3") else 0
    stream = stream_with_context(_stream(watch_id, pause, seen))
    return Response(stream, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _stream(watch_id: str, pause: Pause, seen: int) -> Iterator[str]:
    yield "retry: 3000\n\n"
    until = time.monotonic() + STREAM_FOR
    with deps().waker.listening(pause.id) as changed:
        while True:
            pause = get_pause(deps().store, g.principal, watch_id)
            for number, event in enumerate(_events(pause), 1):
                if number > seen:
                    yield _format(number, event)
                    seen = number
            # With no room to wait the stream ends here: the client comes back in 3 s, which is polling.
            if pause.status is not Status.PENDING or time.monotonic() > until or deps().waker.stopped or not has_room():
                return
            if not changed.wait(KEEP_ALIVE):
                yield ": still pending\n\n"
            changed.clear()
            if not _still_authorized():
                return


def _still_authorized() -> bool:
    try:
        authorize(request, Permission.PAUSE_READ)
    except (EdgeError, Forbidden):
        return False
    return True


def _events(pause: Pause) -> Iterator[Event]:
    before = replace(pause, status=Status.PENDING, decision=None)
    yield created(before)
    if pause.escalated_at is not None:
        yield Event("pause.escalated", before, pause.escalated_at)
    if pause.decision is not None:
        yield Event(f"pause.{pause.status}", pause, pause.decision.at)


def _format(number: int, event: Event) -> str:
    data = encode(event_document(event, deps().store.public_url))
    return f"id: {number}\nevent: {event.type}\ndata: {data}\n\n"
