"""Spans for a collector, where one is set: the small part of OpenTelemetry that the rest of the house knows.

Without a collector nobody opens a tracer: no module of the SDK is imported, and who begins a span is given `NOTHING`.
With one, spans go out in batches on a thread of the SDK's, and whatever happens to them there, work goes on.

What goes into a span stands where it is begun: names, ids, codes and times, never what somebody sent or was told.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from domain.pauses.pause import STEP, Pause
from domain.values.ids import WATCH, text

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger(__name__)

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | int]


class Span:
    """Nothing: what is begun where no spans are wanted. Its children are nothing either.

    Attributes:
        traceparent: for whom the work is handed to, as W3C Trace Context has it; None where there is no span.
    """

    traceparent: str | None = None

    def __enter__(self) -> Self:
        """What is begun in the block is a part of it, and the block's end is its end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        pass

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is begun in the block is a part of it, also later on, by what was set going there on an event loop."""
        outer = _current.set(self)
        try:
            yield
        finally:
            _current.reset(outer)

    def tell(self, attributes: Attributes) -> None:
        """More of what is known of it."""

    def fail(self, code: str) -> None:
        """It did not come to what it should. `code`: one of a few words, never a message."""

    def end(self) -> None:
        """By whatever thread."""

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        return self


NOTHING = Span()
# What this thread or coroutine is at. Not the SDK's own context: there a library (mcp) looks, to add what it likes.
_current: ContextVar[Span] = ContextVar("span", default=NOTHING)


def child(name: str, kind: Kind, attributes: Attributes) -> Span:
    """A part of what goes on here."""
    return _current.get().child(name, kind, attributes)


def begin(
    tracer: "Tracer | None",
    name: str,
    kind: Kind,
    attributes: Attributes,
    trace_id: UUID | None = None,
    span_id: int | None = None,
    cause: str | None = None,
) -> Span:
    """A span without a parent, under these ids or random ones. `cause`: `traceparent` of a span that it links to."""
    return NOTHING if tracer is None else tracer.begin(name, kind, attributes, trace_id, span_id, cause)


def tell_hold(tracer: "Tracer", pause: Pause) -> None:
    """A span of a hold that has ended: in its saga's trace, or in one that has the pause's own id. Never raises."""
    try:
        name, trace_id, attributes = _of_step(pause) if pause.kind == STEP else ("hold", pause.id, {})
        told = {"sagahold.namespace": pause.namespace, "sagahold.watch_id": text(WATCH, pause.id)}
        assert pause.decision is not None, "it has ended"
        outcome = {"sagahold.outcome": str(pause.status)}
        tracer.over(name, attributes | told | outcome, trace_id, pause.created_at, pause.decision.at)
    except Exception as error:
        # A span is never worth what it tells of.
        log.warning("no span tells of a hold: %s", type(error).__name__)


def _of_step(pause: Pause) -> tuple[str, UUID, dict[str, str | int]]:
    about, saga = pause.context or {}, (pause.context or {})["saga"]
    attributes = {
        "sagahold.saga": saga["name"],
        "sagahold.saga.version": saga["version"],
        "sagahold.step": about["step_id"],
    }
    return f"hold {about['step_id']}", UUID(hex=about["trace_id"]), attributes


def open_tracer(service_name: str) -> "Tracer | None":
    """None, with a line in the log, where the SDK cannot use what the environment says: no work fails for that."""
    try:
        from adapters.otel.sdk import Tracer

        return Tracer(service_name)
    except ValueError as error:
        log.error("no spans are sent: %s", error)
    except Exception as error:
        # Whatever it is, it may repeat a variable that holds a key.
        log.error("no spans are sent: %s", type(error).__name__)
    return None
