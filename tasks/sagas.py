"""Go on with one saga: claim it, make the calls that its steps ask for, record what came of each."""

import logging
import random
import time
from uuid import UUID

from adapters import mcp
from adapters.otel import tracing
from adapters.process.logs import trace_id as logged_trace
from domain.manifests.definition import ToolSource
from domain.sagas.outcome import Done, Failed, Lost, NotSent, Outcome, TimedOut
from domain.sagas.serialization import traceparent
from domain.sagas.step import TOOL_OUTPUT_ERROR, Error
from domain.sagas.tool_arguments import unfilled
from services.kernel.leases import SAGA
from services.sagas.engine import advance, record
from services.sagas.work import Capacity, ToolCall, ToolLookup, Work
from tasks.giving_up import giving_up
from tasks.retry_while_leased import insist
from tasks.runtime import calls, database, leases, requests, tool_client, tracer
from tasks.slots import Slot
from tasks.spans import execution_span, tell_outcome
from tasks.task import task
from tasks.tool_lookups import find, look_up_and_record

log = logging.getLogger(__name__)


@task("tasks.sagas.advance")
def advance_saga(saga_id: str) -> None:
    _go_on(UUID(hex=saga_id))


@task("tasks.decisions.apply")
def apply_decision(saga_id: str) -> None:
    """The same, on a queue of its own: a person's decision does not wait behind machines' work."""
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
                        _make_and_record(work, room) if isinstance(work, ToolCall) else look_up_and_record(work, room)
                    )
            if work is not None:
                # A model takes its time, and this thread is needed for others.
                requests().begin(work, reasoning.handed_on())
    finally:
        logged_trace.set(None)


def _make_and_record(call: ToolCall, room: Capacity) -> Work | None:
    """Raises `DatabaseAway`: then nobody knows what came of the call, and the next to claim the saga says so."""
    began = time.perf_counter()
    about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.tool}
    with tracing.running(execution_span(tracer(), call, "client", about)) as span:
        outcome = make(call, tracing.traceparent(span))
        tell_outcome(span, outcome)
    took = round((time.perf_counter() - began) * 1000, 1)
    report = {"timing": {"queue_ms": call.queue_ms, "tool_ms": took}}
    jitter = random.random()  # noqa: S311  (no secret)
    return insist(lambda: record(database(), call, outcome, report, jitter, room))


def make(call: ToolCall, parent: str | None = None) -> Outcome:
    """`parent`: what the tool is told to be a part of; by default the step."""
    until = time.monotonic() + call.timeout
    idempotent = False
    try:
        source, info = find(call.sources, call.tool, until)
        idempotent = bool(info.idempotent) if call.idempotent is None else call.idempotent
        if call.again and not idempotent:
            return Lost(f"{_ENDED}, and the tool is not idempotent", False)
        if not call.again and (message := unfilled(info.input_schema, call.arguments, call.may_be_null)) is not None:
            return Failed(Error("ARGUMENT_MISSING", f"the tool {call.tool!r} {message}: nothing was called"))
        return Done(_call(call, source, until, parent).data)
    except mcp.LeaseLost as error:
        # This process stood still for long: by now the step may be another's, which has perhaps called.
        return NotSent(Error("LEASE_LOST", str(error)))
    except mcp.NotSent as error:
        return mcp.not_sent(error, f"{_ENDED}, and the tool" if call.again else None)
    except mcp.ToolFailed as error:
        return Failed(Error("TOOL_INVOKE_FAILED", str(error)))
    except mcp.BadOutput as error:
        details = None if error.answer is None else {"answer": error.answer}
        return Failed(Error(TOOL_OUTPUT_ERROR, str(error), details), acted=True)
    except mcp.TimedOut as error:
        return TimedOut(Error("STEP_TIMED_OUT", str(error)))
    except mcp.Unknown as error:
        return Lost(str(error), idempotent, error.answer)
    except Exception as error:
        log.exception("a tool call broke off", extra={"idempotency_key": call.idempotency_key})
        return Lost(f"internal error, see the worker's log: {type(error).__name__}", idempotent)


_ENDED = "the worker ended before the tool's answer was recorded"


def _call(call: ToolCall, source: ToolSource, until: float, parent: str | None) -> mcp.CallResult:
    return tool_client().call(
        source,
        call.tool,
        call.arguments,
        meta={"traceparent": parent or traceparent(call.lease.id, call.span_id)},
        idempotency_key=call.idempotency_key,
        timeout=max(0.1, until - time.monotonic()),
        ours=lambda: leases().holds(call.lease),
        progress=leases().teller(call.lease, call.span_id, call.execution.attempt),
    )
