"""Spans for a collector, where one is set.

Without a collector nobody opens a tracer: the SDK's tracing is not imported, and each span is the API's invalid one.
With one, spans go out in batches on a thread of the SDK's, and whatever happens to them there, work goes on.

What goes into a span stands where it is begun: names, ids, codes and times, never what somebody sent or was told.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, Span, StatusCode

from domain.pauses.pause import STEP, Pause
from domain.values.ids import WATCH, text

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger(__name__)

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | int]


# What this thread or coroutine is at. Not the API's own context: there the MCP SDK looks, whose tasks outlive the call
# that they were begun in, and would tell a later call's tool of an earlier span.
_current: ContextVar["tuple[Tracer, Span] | None"] = ContextVar("span", default=None)


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
    return INVALID_SPAN if tracer is None else tracer.begin(name, kind, attributes, trace_id, span_id, cause)


def child(name: str, kind: Kind, attributes: Attributes) -> Span:
    """A part of the current span; none where there is none."""
    found = _current.get()
    if found is None:
        return INVALID_SPAN
    tracer, parent = found
    return tracer.child(parent, name, kind, attributes)


@contextmanager
def current(tracer: "Tracer | None", span: Span) -> Iterator[None]:
    """What is begun in the block is a part of the span, also later on, by what was set going there on an event loop."""
    outer = _current.set(None if tracer is None else (tracer, span))
    try:
        yield
    finally:
        _current.reset(outer)


@contextmanager
def running(span: Span) -> Iterator[Span]:
    """End the span with the block. An exception is told by its class: its message may repeat a secret."""
    try:
        yield span
    except BaseException as error:
        fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def fail(span: Span, code: str) -> None:
    """It did not come to what it should. `code`: one of a few words, never a message."""
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", code)


def traceparent(span: Span) -> str | None:
    """For whom the work is handed to, as W3C Trace Context has it; None where no spans are wanted."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


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
