"""Server-Sent Events: the response, the format of an event, and the end of a stream."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from flask import Response, g, stream_with_context

from app.deps import deps
from app.http.long_poll import has_room
from domain.values.canonical_json import encode
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

# Seconds after which a stream ends; EventSource reconnects automatically.
STREAM_FOR = 300.0


def stream_of(events: Iterator[str]) -> Response:
    """Return a response that streams the events, which run within the request's context."""
    return Response(
        stream_with_context(_from_the_start(events)),
        content_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def event(type_: str, data: Any, number: int | None = None) -> str:
    """Format an event. A client that reconnects sends its last `number` as `Last-Event-ID`."""
    id_ = "" if number is None else f"id: {number}\n"
    return f"{id_}event: {type_}\ndata: {encode(data)}\n\n"


@contextmanager
def wakeups(id_: UUID) -> Iterator[threading.Event | None]:
    """Yield an event that is set at each change, or None if the process has no room for another stream.

    A stream without room does not count, even while it sends its first event. It would end an earlier one instead.
    """
    if not has_room():
        yield None
        return
    with deps().subscriber.listening(id_, owner=g.principal.id) as changed:
        yield changed


def is_over(began: float) -> bool:
    """Tell whether a stream must end. `began` is from `time.monotonic`.

    A stream also ends when the process has no room for it any more; the client then polls every 3 s.
    """
    return time.monotonic() - began > STREAM_FOR or deps().subscriber.stopped or not has_room(counted=1)


def _from_the_start(events: Iterator[str]) -> Iterator[str]:
    yield "retry: 3000\n\n"
    try:
        yield from events
    except DatabaseUnavailable as error:
        log.warning("a stream ended because the database is unavailable: %s", error)
