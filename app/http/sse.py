"""Server-Sent Events: the response, the format of an event, and the end of a stream."""

import time
from collections.abc import Iterator
from typing import Any

from flask import Response, stream_with_context

from app.deps import deps
from app.http.long_poll import has_room
from domain.values.canonical_json import encode

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


def is_over(began: float) -> bool:
    """Tell whether a stream must end. `began` is from `time.monotonic`.

    A stream also ends when the process has no room for it; the client then polls every 3 s.
    """
    return time.monotonic() - began > STREAM_FOR or deps().subscriber.stopped or not has_room(counted=1)


def _from_the_start(events: Iterator[str]) -> Iterator[str]:
    yield "retry: 3000\n\n"
    yield from events
