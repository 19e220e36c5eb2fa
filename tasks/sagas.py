"""Work on sagas: claim those that a wake-up names, make the calls that their steps need, and record the outcomes.

No thread waits for a tool or a model. Turns of sagas that come together share a transaction.
"""

import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, Span

from adapters.otel import tracing
from adapters.process.logs import logging_trace
from domain.sagas.outcome import Failed, NotSent, Outcome, ToolFound
from domain.sagas.serialization import traceparent
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import SAGA, Lease
from services.operations.giving_up import failed
from services.sagas.engine import advance, record, record_look_up
from services.sagas.turns import Taken, Turn
from services.sagas.work import Capacity, ModelRequest, ToolCall, ToolLookup, Work
from tasks.retry_while_leased import retry_while_leased
from tasks.runtime import database, leases, requests, tool_calls, tool_client, tool_slots, tracer, turns
from tasks.slots import Slot
from tasks.spans import execution_span, record_outcome
from tasks.task import task, tolerating_outage

log = logging.getLogger(__name__)


@task("tasks.sagas.advance")
def advance_sagas(*saga_ids: str) -> None:
    _go_on(saga_ids)


@task("tasks.decisions.apply")
def apply_decisions(*saga_ids: str) -> None:
    """Advance the sagas on a separate queue: a person's decision does not wait behind machines' work."""
    _go_on(saga_ids, decided=True)


def _go_on(saga_ids: Sequence[str], *, decided: bool = False) -> None:
    """Advance these sagas. Raise the first error, after all of them were tried."""
    found = [SagaInHand(UUID(hex=id_), decided=decided) for id_ in dict.fromkeys(saga_ids)]
    outcomes = turns().do_all([saga.claim() for saga in found])
    errors = [error for saga, outcome in zip(found, outcomes, strict=True) if (error := saga.go_on(outcome))]
    for error in errors[1:]:
        if not isinstance(error, DatabaseUnavailable):
            log.error("a saga could not go on", exc_info=error)
    if errors:
        raise errors[0]


class SagaInHand:
    """A saga while this worker works on it: its slots, and the lease while a call is under way."""

    def __init__(self, id_: UUID, *, decided: bool) -> None:
        self.id = id_
        self._decided = decided
        self._calling: Slot | None = None
        self._reasoning = Slot(requests().places, id_, decided=decided)
        self._lease: Lease | None = None
        self.room = Capacity(self._take_call, self._reasoning.take)

    def claim(self) -> Turn:
        return advance(self.id, self.room)

    def go_on(self, outcome: Taken | Exception) -> Exception | None:
        """Begin the next work, or let go of the saga. Return the error, which has been counted."""
        if isinstance(outcome, Exception):
            self.let_go()
            if not isinstance(outcome, DatabaseUnavailable):
                # While a call may be running its row stays leased, and is not counted. Its outcome is decided later.
                with tolerating_outage("counting a failure"):
                    failed(database(), SAGA, self.id, outcome)
            return outcome
        self._begin(outcome.work)
        return None

    def _begin(self, work: Work | None) -> None:
        if isinstance(work, ToolCall | ToolLookup):
            self._lease = work.lease
            leases().keep(work.lease)
            tool_calls().begin(_CallInFlight(self, work))
        elif isinstance(work, ModelRequest):
            slot = self._reasoning.handed_on()
            self.let_go()
            requests().begin(work, slot)
        else:
            self.let_go()

    def _take_call(self, namespace: str, servers: str) -> bool:
        places = tool_slots().of(servers)
        if self._calling is None or self._calling.places is not places:
            if self._calling is not None:
                self._calling.give_back()
            self._calling = Slot(places, self.id, decided=self._decided)
        return self._calling.take(namespace)

    def let_go(self) -> None:
        if self._lease is not None:
            leases().drop(self._lease)
        for slot in (self._calling, self._reasoning):
            if slot is not None:
                slot.give_back()
        self._lease = self._calling = None


@dataclass(slots=True, eq=False)
class _CallInFlight:
    """A tool call or a tool look-up, for the pool of futures."""

    saga: SagaInHand
    work: ToolCall | ToolLookup
    began: float = field(default_factory=time.perf_counter)
    span: Span = INVALID_SPAN

    def start(self) -> "Future[Outcome] | Future[ToolFound | Failed | NotSent]":
        with logging_trace(self.saga.id):
            try:
                return self._start()
            except Exception as error:
                failed: Future[Outcome] = Future()
                failed.set_exception(error)
                return failed

    def _start(self) -> "Future[Outcome] | Future[ToolFound | Failed | NotSent]":
        work = self.work
        if isinstance(work, ToolLookup):
            return tool_client().look_up(work.sources, work.tool, work.timeout)
        about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": work.tool}
        self.span = execution_span(tracer(), work, "client", about)
        return make(work, tracing.traceparent(self.span))

    def record(self, future: "Future[Any]") -> None:
        """Record the outcome, even if it is unknown, and go on.

        Without a database, the next worker that claims the saga records an unknown outcome.
        """
        with logging_trace(self.saga.id):
            try:
                turn = self._turn(future)
                taken: Taken | Exception = retry_while_leased(lambda: turns().do(turn))
            except Exception as error:
                taken = error
            if (failure := self.saga.go_on(taken)) is None:
                return
            with tolerating_outage("recording the outcome of a tool call"):
                raise failure

    def abandon(self) -> None:
        # Once the lease expires, another worker decides on the outcome.
        self.saga.let_go()
        tracing.fail(self.span, "WORKER_ENDED")
        self.span.end()

    def release(self) -> None:
        """The saga itself frees what it holds, as it may go on."""

    def _turn(self, future: "Future[Any]") -> Turn:
        jitter = random.random()  # noqa: S311  (no secret)
        if isinstance(self.work, ToolLookup):
            return record_look_up(self.work, future.result(), jitter, self.saga.room)
        outcome: Outcome = future.result()
        record_outcome(self.span, outcome)
        self.span.end()
        took = round((time.perf_counter() - self.began) * 1000, 1)
        report = {"timing": {"queue_ms": self.work.queue_ms, "tool_ms": took}}
        return record(self.work, outcome, report, jitter, self.saga.room)


def make(call: ToolCall, parent: str | None = None) -> "Future[Outcome]":
    """Begin the call. `parent`: the trace context that the tool gets; by default that of the step."""
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
