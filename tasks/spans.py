"""Spans of step executions."""

from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, Span

from adapters.otel import tracing
from domain.sagas.outcome import Done, Lost, Outcome
from domain.sagas.step import OUTCOME_UNKNOWN
from services.sagas.work import Work

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


def execution_span(tracer: "Tracer | None", work: Work, kind: tracing.Kind, more: tracing.Attributes) -> Span:
    """Begin a span in the trace whose id is the saga's, on any worker.

    Only the first execution of a step uses the step's own span id, because a viewer shows one of two spans with the
    same id.
    """
    if tracer is None:
        return INVALID_SPAN
    execution = work.execution
    attributes = {
        "sagahold.saga": execution.saga,
        "sagahold.saga.version": execution.version,
        "sagahold.namespace": execution.namespace,
        "sagahold.step": execution.step,
        "sagahold.attempt": execution.attempt,
        **more,
    }
    name = f"{'undo' if execution.undoes else 'step'} {execution.step}"
    return tracing.begin(
        tracer, name, kind, attributes, work.lease.id, work.span_id if execution.attempt == 1 else None
    )


def record_outcome(span: Span, outcome: Outcome) -> None:
    """Record only the outcome's code, because messages repeat texts of tools and models."""
    if isinstance(outcome, Done):
        code = "OK"
    else:
        code = OUTCOME_UNKNOWN if isinstance(outcome, Lost) else outcome.error.code
        tracing.fail(span, code)
    span.set_attribute("sagahold.outcome", code)
