"""The model requests of this process.

A model may take minutes, and no thread of Celery's pool waits for it. Sixty-four model requests cost as many sockets.
"""

import hashlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from opentelemetry.trace import INVALID_SPAN, Span

from adapters.otel import tracing
from adapters.process.future_pool import FuturePool
from adapters.process.logs import logging_trace
from domain.manifests import prompts, resources
from domain.manifests.prompt_limits import PromptFailed
from domain.sagas.compensation import undo_message
from domain.sagas.outcome import Failed
from domain.sagas.reasoning import ModelInput, ModelResult, RunReport
from domain.sagas.serialization import report_document, traceparent
from domain.sagas.step import Error
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import GroupCommit
from services.kernel.leases import SAGA
from services.kernel.unit_of_work import Database, WakeUp
from services.sagas.engine import given_up, record_model_result
from services.sagas.turns import Taken, Turn
from services.sagas.work import ModelRequest
from tasks.leases import LeaseKeeper
from tasks.retry_while_leased import retry_while_leased
from tasks.slots import Slot, Slots
from tasks.spans import execution_span, record_outcome

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger(__name__)

# The limit of one process; one namespace alone gets 64. Each is a socket and some hundred kilobytes of messages.
MOST = 96
# Threads that record results. Recording is a transaction of a few milliseconds.
RECORDERS = 4


class RequestRunner(Protocol):
    def ask_model(self, model_input: ModelInput) -> "Future[ModelResult]": ...


class ModelRequests:
    """The model requests of a process.

    `runner` is called at the first request, so that a process without any does not load the model library.

    Attributes:
        places: the slots of requests in flight.
    """

    def __init__(
        self,
        database: Database,
        turns: GroupCommit[Turn, Taken],
        leases: LeaseKeeper,
        runner: Callable[[], RequestRunner],
        tracer: "Tracer | None" = None,
    ) -> None:
        self._database, self._turns, self._leases, self._runner, self._tracer = database, turns, leases, runner, tracer
        self.places = Slots(MOST, lambda row: database.publisher.publish([WakeUp(SAGA, row, chosen=True)], []))
        self._pool: FuturePool[_Job] = FuturePool("model-requests", RECORDERS, self._given_up)

    def begin(self, request: ModelRequest, slot: Slot | None = None) -> None:
        """Begin the request, and return at once. `slot`: given back when the result is recorded."""
        self._leases.keep(request.lease)
        self._pool.begin(_Job(self._turns, self._leases, self._runner, self._tracer, request, slot))

    def drain(self) -> None:
        """Wait until all requests are recorded, as a worker that ends does for its tool calls."""
        self._pool.drain()

    def _given_up(self, running: "list[_Job]") -> "list[_Job]":
        tokens = given_up(self._database, [job.request.lease for job in running])
        return [job for job in running if job.request.lease.token in tokens]


@dataclass(slots=True, eq=False)
class _Job:
    """One model request in flight."""

    turns: GroupCommit[Turn, Taken]
    leases: LeaseKeeper
    runner: Callable[[], RequestRunner]
    tracer: "Tracer | None"
    request: ModelRequest
    slot: Slot | None
    began: float = field(default_factory=time.perf_counter)
    prompt_digest: str | None = None
    span: Span = INVALID_SPAN

    def start(self) -> "Future[ModelResult]":
        request = self.request
        try:
            self.span = execution_span(self.tracer, request, "internal", _about(request))
            model_input = _model_input(request, self.leases, tracing.traceparent(self.span))
            self.prompt_digest = hashlib.sha256(model_input.message.encode()).hexdigest()
            with tracing.current(self.tracer, self.span):
                return self.runner().ask_model(model_input)
        except (PromptFailed, resources.NotBound) as error:
            failed = Error("PROMPT_FAILED", str(error))
        except Exception as error:
            log.exception("a model request could not begin", extra={"idempotency_key": request.idempotency_key})
            failed = Error("INTERNAL", f"internal error, see the worker's log: {type(error).__name__}")
        future: Future[ModelResult] = Future()
        future.set_result(_without_model(request, failed))
        return future

    def record(self, future: "Future[ModelResult]") -> None:
        with logging_trace(self.request.lease.id):
            self._record(_result(self.request, future))

    def _record(self, result: ModelResult) -> None:
        request, report = self.request, result.report
        _end_span(self.span, result)
        took = (time.perf_counter() - self.began) * 1000
        schedule_ms = max(0.0, took - report.setup_ms - report.llm_ms - report.tool_ms)
        about = {"prompt_ref": request.reasoning.prompt_ref, "prompt_digest": self.prompt_digest}
        document = report_document(report, schedule_ms, request.queue_ms) | about
        jitter = random.random()  # noqa: S311  (no secret)
        try:
            retry_while_leased(lambda: self.turns.do(record_model_result(request, result, document, jitter)))
        except DatabaseUnavailable as error:
            log.warning("a model result is lost, as the database is away: %s", error)

    def abandon(self) -> None:
        # Once the lease expires, another worker continues the request.
        tracing.fail(self.span, "WORKER_ENDED")
        self.span.end()

    def release(self) -> None:
        self.leases.drop(self.request.lease)
        if self.slot is not None:
            self.slot.give_back()


def _about(request: ModelRequest) -> dict[str, str | int]:
    """Return the attributes that OpenTelemetry defines for agents."""
    worker = request.worker
    named = {"gen_ai.agent.name": worker.name, "gen_ai.provider.name": worker.provider or "none"}
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": worker.model_name or "mock", **named}


def _end_span(span: Span, result: ModelResult) -> None:
    report = result.report
    span.set_attribute("gen_ai.usage.input_tokens", report.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", report.output_tokens)
    if report.model:
        span.set_attribute("gen_ai.response.model", report.model)
    record_outcome(span, result.outcome)
    span.end()


def _model_input(request: ModelRequest, leases: LeaseKeeper, parent: str | None) -> ModelInput:
    """Return the model's input. `parent`: the trace context for tools; by default that of the step.

    Raises `PromptFailed` or `NotBound`.
    """
    reasoning = request.reasoning
    if request.undoes:
        rendered = undo_message(request.arguments)
    else:
        rendered = prompts.render(reasoning.prompt, request.arguments, request.guidance)
    return ModelInput(
        worker=request.worker,
        reasoning=reasoning,
        message=prompts.message(rendered, request.previous, request.guidance),
        system=request.system,
        resources=resources.bind(reasoning.resources, request.arguments),
        key=request.idempotency_key,
        meta={"traceparent": parent or traceparent(request.lease.id, request.span_id)},
        timeout=request.timeout,
        again=request.again,
        ours=lambda: leases.holds(request.lease),
        heard=leases.progress_reporter(request.lease, request.span_id, request.execution.attempt),
    )


def _result(request: ModelRequest, future: "Future[ModelResult]") -> ModelResult:
    try:
        return future.result()
    except CancelledError:
        # The outcome of its tool calls is unknown.
        stopped = Error("CANCELLED", "the model was stopped: its answer was not wanted any more")
        return _without_model(request, stopped, acted=bool(request.reasoning.tools))
    except Exception as error:
        log.exception("a model request broke off", extra={"idempotency_key": request.idempotency_key})
        broken = Error("INTERNAL", f"internal error, see the worker's log: {type(error).__name__}")
        return _without_model(request, broken, acted=bool(request.reasoning.tools))


def _without_model(request: ModelRequest, error: Error, *, acted: bool = False) -> ModelResult:
    worker = request.worker
    report = RunReport(worker.provider or "", worker.model_name, mock=worker.provider == "mock", acted=acted)
    return ModelResult(Failed(error, acted), report)
