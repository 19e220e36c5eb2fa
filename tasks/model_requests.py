"""The model requests of this process: they run on one event loop, and a few threads record their results.

A model may take minutes, and no thread of Celery's pool waits for it. Sixty-four model requests cost as many sockets.
Once a second a query finds the requests that were cancelled or taken over.
"""

import hashlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, Span

from adapters.otel import tracing
from adapters.process.logs import trace_id as logged_trace
from domain.manifests import prompts, resources
from domain.manifests.prompt_limits import PromptFailed
from domain.sagas.compensation import undo_message
from domain.sagas.outcome import Failed
from domain.sagas.reasoning import ModelInput, ModelResult, RunReport
from domain.sagas.serialization import report_document, traceparent
from domain.sagas.step import Error
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import SAGA
from services.kernel.unit_of_work import Database, WakeUp
from services.sagas.engine import given_up, record_model_result
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
# Recording is a transaction of a few milliseconds.
_RECORDERS = 4
# Seconds that a model request may run after its saga was cancelled.
_WATCH_SECONDS = 1.0


class RequestRunner(Protocol):
    def ask_model(self, model_input: ModelInput) -> "Future[ModelResult]": ...


@dataclass(slots=True)
class _Running:
    request: ModelRequest
    began: float
    prompt_digest: str | None = None
    future: "Future[ModelResult] | None" = None
    given_up: bool = False
    span: Span = INVALID_SPAN
    slot: Slot | None = None


class ModelRequests:
    """The model requests of a process.

    `runner` is called at the first request, so that a process without any does not load the model library.

    Attributes:
        places: the slots of requests in flight.
    """

    def __init__(
        self,
        database: Database,
        leases: LeaseKeeper,
        runner: Callable[[], RequestRunner],
        tracer: "Tracer | None" = None,
    ) -> None:
        self._database, self._leases, self._runner, self._tracer = database, leases, runner, tracer
        self.places = Slots(MOST, lambda row: database.publisher.publish([WakeUp(SAGA, row, chosen=True)], []))
        # By the token of their lease.
        self._running: dict[UUID, _Running] = {}
        self._changed = threading.Condition()
        self._results: queue.SimpleQueue[tuple[_Running, ModelResult]] = queue.SimpleQueue()
        for number in range(_RECORDERS):
            threading.Thread(target=self._record_all, name=f"model-results-{number}", daemon=True).start()
        threading.Thread(target=self._watch, name="model-requests-watch", daemon=True).start()

    def begin(self, request: ModelRequest, slot: Slot | None = None) -> None:
        """Begin the request, and return at once. `slot`: given back when the result is recorded."""
        running = _Running(request, time.perf_counter(), slot=slot)
        self._leases.keep(request.lease)
        with self._changed:
            self._running[request.lease.token] = running
            self._changed.notify_all()
        try:
            running.span = execution_span(self._tracer, request, "internal", _about(request))
            model_input = _model_input(request, self._leases, tracing.traceparent(running.span))
            running.prompt_digest = hashlib.sha256(model_input.message.encode()).hexdigest()
            with tracing.current(self._tracer, running.span):
                running.future = self._runner().ask_model(model_input)
        except (PromptFailed, resources.NotBound) as error:
            self._results.put((running, _without_model(request, Error("PROMPT_FAILED", str(error)))))
        except Exception as error:
            # Without a result, this process would renew its lease for good.
            log.exception("a model request could not begin", extra={"idempotency_key": request.idempotency_key})
            text = f"internal error, see the worker's log: {type(error).__name__}"
            self._results.put((running, _without_model(request, Error("INTERNAL", text))))
        else:
            running.future.add_done_callback(lambda future: self._ended(running, future))

    def drain(self) -> None:
        """Wait until all requests are recorded, as a worker that ends does for its tool calls."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _ended(self, running: _Running, future: "Future[ModelResult]") -> None:
        if future.cancelled() and not running.given_up:
            # The worker ends by force, or a library cancelled the task. The request is still wanted. Once its lease
            # expires, another worker continues it.
            tracing.fail(running.span, "WORKER_ENDED")
            running.span.end()
            self._let_go(running)
            return
        self._results.put((running, _result(running.request, future)))

    def _let_go(self, running: _Running) -> None:
        """Free the slot and the lease after any end of the request."""
        self._leases.drop(running.request.lease)
        try:
            if running.slot is not None:
                running.slot.give_back()
        finally:
            with self._changed:
                del self._running[running.request.lease.token]
                self._changed.notify_all()

    def _record_all(self) -> None:
        while True:
            running, result = self._results.get()
            logged_trace.set(running.request.lease.id.hex)
            try:
                _end_span(running.span, result)
                self._record(running, result)
            except DatabaseUnavailable as error:
                log.warning("a model result is lost, as the database is away: %s", error)
            except Exception:
                log.exception("a model result could not be recorded")
            finally:
                logged_trace.set(None)
                self._let_go(running)

    def _record(self, running: _Running, result: ModelResult) -> None:
        request, report = running.request, result.report
        took = (time.perf_counter() - running.began) * 1000
        schedule_ms = max(0.0, took - report.setup_ms - report.llm_ms - report.tool_ms)
        about = {"prompt_ref": request.reasoning.prompt_ref, "prompt_digest": running.prompt_digest}
        document = report_document(report, schedule_ms, request.queue_ms) | about
        jitter = random.random()  # noqa: S311  (no secret)
        retry_while_leased(lambda: record_model_result(self._database, request, result, document, jitter))

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running)
                running = list(self._running.values())
            pause.wait(_WATCH_SECONDS)
            try:
                unwanted = given_up(self._database, [each.request.lease for each in running])
            except Exception as error:  # the database may be away; the next query may succeed
                log.warning("could not query for cancelled model requests: %s", type(error).__name__)
                continue
            for each in running:
                if each.request.lease.token in unwanted and each.future is not None:
                    each.given_up = True
                    each.future.cancel()


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
