"""Go on with one saga: claim it, make the calls that its steps ask for, record what came of each."""

import logging
import random
import time
from uuid import UUID

from adapters import mcp
from adapters.logs import trace_id as logged_trace
from domain.definition import ToolSource
from domain.outcome import Done, Failed, Lost, NotSent, Outcome, TimedOut
from domain.step import Error
from services.database import DatabaseAway
from services.due import LEASE
from services.saga_engine import advance, record
from services.saga_plan import Call
from tasks.runtime import leases, store, tool_client
from tasks.task import task

log = logging.getLogger(__name__)

# A restart of PostgreSQL takes a second or two.
RECORD_AGAIN_SECONDS = 0.5


@task("tasks.sagas.advance")
def advance_saga(saga_id: str) -> None:
    _go_on(UUID(hex=saga_id))


@task("tasks.decisions.apply")
def apply_decision(saga_id: str) -> None:
    """The same, on a queue of its own: a person's decision does not wait behind machines' work."""
    _go_on(UUID(hex=saga_id))


def _go_on(saga_id: UUID) -> None:
    logged_trace.set(saga_id.hex)
    try:
        call = advance(store(), saga_id)
        while call is not None:
            with leases().keeping(call.lease):
                call = _record(call, _make(call))
    finally:
        logged_trace.set(None)


def _record(call: Call, outcome: Outcome) -> Call | None:
    """The tool has acted: while the lease lasts it is worth waiting for a database that restarts. Raises `DatabaseAway`
    when the time is up; then nobody knows what came of the call, and the next to claim the saga says so."""
    until = time.monotonic() + LEASE.total_seconds()
    while True:
        try:
            return record(store(), call, outcome, random.random())  # noqa: S311  (jitter is no secret)
        except DatabaseAway:
            if time.monotonic() >= until:
                raise
            time.sleep(RECORD_AGAIN_SECONDS)


def _make(call: Call) -> Outcome:
    until = time.monotonic() + call.timeout
    try:
        source, info = _find(call, until)
    except mcp.ToolNotFound as error:
        return _not_made(call, Failed(Error("TOOL_NOT_FOUND", str(error))))
    except mcp.NotConfigured as error:
        return _not_made(call, Failed(Error("WORKER_CONFIG_LOAD_FAILED", str(error))))
    except mcp.NotSent as error:
        return NotSent(Error("MCP_UNAVAILABLE", str(error)))
    idempotent = bool(info.idempotent) if call.idempotent is None else call.idempotent
    if call.again and not idempotent:
        return Lost("the worker ended before the tool's answer was recorded, and the tool is not idempotent", False)
    return _call(call, source, idempotent, until)


def _not_made(call: Call, outcome: Failed) -> Outcome:
    """Of an earlier call that may have been carried out, this says nothing."""
    if not call.again:
        return outcome
    return Lost("the worker ended before the tool's answer was recorded, and the tool cannot be asked again", False)


def _find(call: Call, until: float) -> tuple[ToolSource, mcp.ToolInfo]:
    """The first source that has the tool. Raises `mcp.NotSent`."""
    away: mcp.NotSent | None = None
    for source in call.sources:
        try:
            tools = tool_client().tools(source, max(0.1, until - time.monotonic()))
        except mcp.NotSent as error:
            away = error
            continue
        for info in tools:
            if info.name == call.tool:
                return source, info
    if away is not None:
        raise away
    raise mcp.ToolNotFound(f"none of {', '.join(source.name for source in call.sources)} has a tool {call.tool!r}")


def _call(call: Call, source: ToolSource, idempotent: bool, until: float) -> Outcome:
    try:
        result = tool_client().call(
            source,
            call.tool,
            call.arguments,
            meta={"traceparent": f"00-{call.lease.id.hex}-{call.span_id:016x}-01"},
            idempotency_key=call.idempotency_key,
            timeout=max(0.1, until - time.monotonic()),
        )
    except mcp.ToolNotFound as error:
        return _not_made(call, Failed(Error("TOOL_NOT_FOUND", str(error))))
    except mcp.NotSent as error:
        return NotSent(Error("MCP_UNAVAILABLE", str(error)))
    except mcp.ToolFailed as error:
        return Failed(Error("TOOL_INVOKE_FAILED", str(error)))
    except mcp.BadOutput as error:
        return Failed(Error("TOOL_OUTPUT_ERROR", str(error)), acted=True)
    except mcp.TimedOut as error:
        return TimedOut(Error("STEP_TIMED_OUT", str(error)))
    except mcp.Unknown as error:
        return Lost(str(error), idempotent)
    except Exception as error:
        log.exception("a tool call broke off", extra={"idempotency_key": call.idempotency_key})
        return Lost(f"internal error, see the worker's log: {type(error).__name__}", idempotent)
    return Done(result.data)
