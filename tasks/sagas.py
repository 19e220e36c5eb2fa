"""Work on one saga: claim it, make the calls that its steps need, and record their outcomes."""

import random
import time
from uuid import UUID

from adapters.otel import tracing
from adapters.process.logs import trace_id as logged_trace
from domain.sagas.outcome import Outcome
from domain.sagas.serialization import traceparent
from services.kernel.leases import SAGA
from services.sagas.engine import advance, record, record_look_up
from services.sagas.work import Capacity, ToolCall, ToolLookup, Work
from tasks.giving_up import giving_up
from tasks.retry_while_leased import retry_while_leased
from tasks.runtime import calls, database, leases, requests, tool_client, tracer
from tasks.slots import Slot
from tasks.spans import execution_span, record_outcome
from tasks.task import task


@task("tasks.sagas.advance")
def advance_saga(saga_id: str) -> None:
    _go_on(UUID(hex=saga_id))


@task("tasks.decisions.apply")
def apply_decision(saga_id: str) -> None:
    """Advance the saga on a separate queue: a person's decision does not wait behind machines' work."""
    _go_on(UUID(hex=saga_id), decided=True)


def _go_on(saga_id: UUID, *, decided: bool = False) -> None:
    logged_trace.set(saga_id.hex)
    try:
        with (
            giving_up(database(), SAGA, saga_id),
            Slot(calls(), saga_id, decided=decided) as calling,
            Slot(requests().places, saga_id, decided=decided) as reasoning,
        ):
            room = Capacity(calling.take, reasoning.take)
            work = advance(database(), saga_id, room)
            while isinstance(work, ToolCall | ToolLookup):
                with leases().keeping(work.lease):
                    work = (
                        _make_and_record(work, room) if isinstance(work, ToolCall) else _look_up_and_record(work, room)
                    )
            if work is not None:
                # A model may take minutes, and other work needs this thread.
                requests().begin(work, reasoning.handed_on())
    finally:
        logged_trace.set(None)


def _make_and_record(call: ToolCall, room: Capacity) -> Work | None:
    """Make the call and record its outcome, even if it is unknown.

    Raises `DatabaseUnavailable`. The next worker that claims the saga then records an unknown outcome.
    """
    began = time.perf_counter()
    about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.tool}
    with tracing.running(execution_span(tracer(), call, "client", about)) as span:
        outcome = make(call, tracing.traceparent(span))
        record_outcome(span, outcome)
    took = round((time.perf_counter() - began) * 1000, 1)
    report = {"timing": {"queue_ms": call.queue_ms, "tool_ms": took}}
    jitter = random.random()  # noqa: S311  (no secret)
    return retry_while_leased(lambda: record(database(), call, outcome, report, jitter, room))


def make(call: ToolCall, parent: str | None = None) -> Outcome:
    """Make the call. `parent`: the trace context that the tool gets; by default that of the step."""
    return tool_client().call(
        call.sources,
        call.tool,
        call.arguments,
        meta={"traceparent": parent or traceparent(call.lease.id, call.span_id)},
        idempotency_key=call.idempotency_key,
        timeout=call.timeout,
        idempotent=call.idempotent,
        again=call.again,
        may_be_null=call.may_be_null,
        ours=lambda: leases().holds(call.lease),
        progress=leases().progress_reporter(call.lease, call.span_id, call.execution.attempt),
    )


def _look_up_and_record(work: ToolLookup, room: Capacity) -> Work | None:
    found = tool_client().look_up(work.sources, work.tool, work.timeout)
    jitter = random.random()  # noqa: S311  (no secret)
    return retry_while_leased(lambda: record_look_up(database(), work, found, jitter, room))
