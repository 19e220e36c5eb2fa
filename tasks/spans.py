"""What a span says of a step's execution."""

from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, Span

from adapters.otel import tracing
from domain.sagas.outcome import Done, Lost, Outcome
from domain.sagas.step import OUTCOME_UNKNOWN
from services.sagas.work import Work

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


def execution_span(tracer: "Tracer | None", work: Work, kind: tracing.Kind, more: tracing.Attributes) -> Span:
    """In the trace that has the saga's own id, whatever worker is at it. The first execution of a step has the step's
    span id, which stands in the saga's document; of two spans with one id only one would be seen."""
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


def tell_outcome(span: Span, outcome: Outcome) -> None:
    """The code only: messages repeat what tools and models said."""
    if isinstance(outcome, Done):
        code = "OK"
    else:
        code = OUTCOME_UNKNOWN if isinstance(outcome, Lost) else outcome.error.code
        tracing.fail(span, code)
    span.set_attribute("sagahold.outcome", code)
