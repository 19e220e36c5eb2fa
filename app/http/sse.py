"""Server-Sent Events: how a stream begins, what an event looks like, and when a stream ends."""

import time
from collections.abc import Iterator
from typing import Any

from flask import Response, stream_with_context

from app.deps import deps
from app.http.long_poll import has_room
from domain.values.canonical_json import encode

# A stream ends after this; EventSource comes back by itself. Seconds.
STREAM_FOR = 300.0


def stream_of(events: Iterator[str]) -> Response:
    """The events are made within the request's context."""
    return Response(
        stream_with_context(_from_the_start(events)),
        content_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def event(type_: str, data: Any, number: int | None = None) -> str:
    """`number`: what a client that comes back sends as `Last-Event-ID`."""
    id_ = "" if number is None else f"id: {number}\n"
    return f"{id_}event: {type_}\ndata: {encode(data)}\n\n"


def is_over(began: float) -> bool:
    """`began`: by `time.monotonic`. Also with no room to wait: the client comes back in 3 s, which is polling."""
    return time.monotonic() - began > STREAM_FOR or deps().subscriber.stopped or not has_room(counted=1)


def _from_the_start(events: Iterator[str]) -> Iterator[str]:
    yield "retry: 3000\n\n"
    yield from events
