"""Spans for a collector, if one is configured.

Without a collector, no tracer is opened: the SDK is not imported, and each span is the API's invalid one. With one, the
SDK's thread sends spans in batches, and a failure there never stops work.

Spans contain names, ids, codes and times, never the content of requests or responses.
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


# The span of this thread or coroutine. The API's own context is unsuitable, because the MCP SDK reads it. The SDK's
# tasks outlive the call that started them, so a later call would send an earlier span to its tool.
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
    """Begin a span without a parent, with the given or random ids. `cause` is the `traceparent` of a linked span."""
    return INVALID_SPAN if tracer is None else tracer.begin(name, kind, attributes, trace_id, span_id, cause)


def child(name: str, kind: Kind, attributes: Attributes) -> Span:
    """Begin a child of the current span, or return the invalid span if there is none."""
    found = _current.get()
    if found is None:
        return INVALID_SPAN
    tracer, parent = found
    return tracer.child(parent, name, kind, attributes)


@contextmanager
def current(tracer: "Tracer | None", span: Span) -> Iterator[None]:
    """Make the span the parent of all spans that the block begins, or that its tasks on an event loop begin later."""
    outer = _current.set(None if tracer is None else (tracer, span))
    try:
        yield
    finally:
        _current.reset(outer)


@contextmanager
def running(span: Span) -> Iterator[Span]:
    """End the span with the block. Record only the class of an exception, because its message may contain a secret."""
    try:
        yield span
    except BaseException as error:
        fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def fail(span: Span, code: str) -> None:
    """Mark the span as failed. `code` is one of a few words, never a message."""
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", code)


def traceparent(span: Span) -> str | None:
    """Return the span's W3C Trace Context header for the next service, or None if spans are disabled."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def tell_hold(tracer: "Tracer", pause: Pause) -> None:
    """Record the span of a resolved pause, in its saga's trace or in a trace with the pause's own id. Never raises."""
    try:
        name, trace_id, attributes = _of_step(pause) if pause.kind == STEP else ("hold", pause.id, {})
        common = {"sagahold.namespace": pause.namespace, "sagahold.watch_id": text(WATCH, pause.id)}
        assert pause.decision is not None, "the pause is resolved"
        outcome = {"sagahold.outcome": str(pause.status)}
        tracer.over(name, attributes | common | outcome, trace_id, pause.created_at, pause.decision.at)
    except Exception as error:
        # A span never stops the work that it describes.
        log.warning("the span of a pause was not recorded: %s", type(error).__name__)


def _of_step(pause: Pause) -> tuple[str, UUID, dict[str, str | int]]:
    about, saga = pause.context or {}, (pause.context or {})["saga"]
    attributes = {
        "sagahold.saga": saga["name"],
        "sagahold.saga.version": saga["version"],
        "sagahold.step": about["step_id"],
    }
    return f"hold {about['step_id']}", UUID(hex=about["trace_id"]), attributes


def open_tracer(service_name: str) -> "Tracer | None":
    """Return a tracer, or log an error and return None if the environment is invalid, so that work goes on."""
    try:
        from adapters.otel.sdk import Tracer

        return Tracer(service_name)
    except ValueError as error:
        log.error("no spans are sent: %s", error)
    except Exception as error:
        # Its message may repeat a variable that contains a key.
        log.error("no spans are sent: %s", type(error).__name__)
    return None
