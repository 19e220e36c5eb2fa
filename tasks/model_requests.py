"""The questions to models that this process is at: asked on one event loop, recorded by a few threads of their own.

A model may take minutes. While it does, no thread of Celery's pool waits for it: sixty-four thoughts cost as many
sockets. Once a second the database is asked whether anybody still wants the answers.
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
from tasks.retry_while_leased import insist
from tasks.slots import Slot, Slots
from tasks.spans import execution_span, tell_outcome

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger(__name__)

# Of one process; one namespace alone comes to 64. Each is a socket and some hundred kilobytes of messages.
MOST = 96
# Recording is a transaction of a few milliseconds.
_RECORDERS = 4
# How long a model goes on after somebody has cancelled its saga. Seconds.
_LOOK_EVERY = 1.0


class RequestRunner(Protocol):
    def ask_model(self, question: ModelInput) -> "Future[ModelResult]": ...


@dataclass(slots=True)
class _Running:
    ask: ModelRequest
    began: float
    prompt_digest: str | None = None
    future: "Future[ModelResult] | None" = None
    given_up: bool = False
    span: Span = INVALID_SPAN
    slot: Slot | None = None


class ModelRequests:
    """`thinker` is called at the first question: a process that asks none does without its library.

    Attributes:
        places: for those that are under way.
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
        self._asked: dict[UUID, _Running] = {}
        self._changed = threading.Condition()
        self._answered: queue.SimpleQueue[tuple[_Running, ModelResult]] = queue.SimpleQueue()
        for number in range(_RECORDERS):
            threading.Thread(target=self._record_all, name=f"thoughts-{number}", daemon=True).start()
        threading.Thread(target=self._look, name="thoughts-wanted", daemon=True).start()

    def begin(self, ask: ModelRequest, slot: Slot | None = None) -> None:
        """Returns when the model has been asked. `slot`: its place, given back when the answer is recorded."""
        asked = _Running(ask, time.perf_counter(), slot=slot)
        self._leases.keep(ask.lease)
        with self._changed:
            self._asked[ask.lease.token] = asked
            self._changed.notify_all()
        try:
            asked.span = execution_span(self._tracer, ask, "internal", _about(ask))
            question = _question(ask, self._leases, tracing.traceparent(asked.span))
            asked.prompt_digest = hashlib.sha256(question.message.encode()).hexdigest()
            with tracing.current(self._tracer, asked.span):
                asked.future = self._runner().ask_model(question)
        except (PromptFailed, resources.NotBound) as error:
            self._answered.put((asked, _without_model(ask, Error("PROMPT_FAILED", str(error)))))
        except Exception as error:
            # Left as it is, its lease would be kept for as long as this process lives.
            log.exception("a question could not be asked", extra={"idempotency_key": ask.idempotency_key})
            text = f"internal error, see the worker's log: {type(error).__name__}"
            self._answered.put((asked, _without_model(ask, Error("INTERNAL", text))))
        else:
            asked.future.add_done_callback(lambda future: self._came(asked, future))

    def drain(self) -> None:
        """Wait until what was begun is recorded, as a worker that ends does for its tool calls."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked)

    def _came(self, asked: _Running, future: "Future[ModelResult]") -> None:
        if future.cancelled() and not asked.given_up:
            # The worker ends by force, or a library cancelled the task. The question is still wanted: once its lease
            # runs out, a worker goes on with it.
            tracing.fail(asked.span, "WORKER_ENDED")
            asked.span.end()
            self._let_go(asked)
            return
        self._answered.put((asked, _result(asked.ask, future)))

    def _let_go(self, asked: _Running) -> None:
        """The place and the lease are free, whatever came of the question."""
        self._leases.drop(asked.ask.lease)
        try:
            if asked.slot is not None:
                asked.slot.give_back()
        finally:
            with self._changed:
                del self._asked[asked.ask.lease.token]
                self._changed.notify_all()

    def _record_all(self) -> None:
        while True:
            asked, result = self._answered.get()
            logged_trace.set(asked.ask.lease.id.hex)
            try:
                _end_span(asked.span, result)
                self._record(asked, result)
            except DatabaseUnavailable as error:
                log.warning("a model's answer is lost, as the database is away: %s", error)
            except Exception:
                log.exception("a model's answer could not be recorded")
            finally:
                logged_trace.set(None)
                self._let_go(asked)

    def _record(self, asked: _Running, result: ModelResult) -> None:
        ask, report = asked.ask, result.report
        took = (time.perf_counter() - asked.began) * 1000
        schedule_ms = max(0.0, took - report.setup_ms - report.llm_ms - report.tool_ms)
        about = {"prompt_ref": ask.reasoning.prompt_ref, "prompt_digest": asked.prompt_digest}
        document = report_document(report, schedule_ms, ask.queue_ms) | about
        jitter = random.random()  # noqa: S311  (no secret)
        insist(lambda: record_model_result(self._database, ask, result, document, jitter))

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                asked = list(self._asked.values())
            pause.wait(_LOOK_EVERY)
            try:
                unwanted = given_up(self._database, [each.ask.lease for each in asked])
            except Exception as error:  # the database may be away: the next look may find it
                log.warning("not seen whether answers are still wanted: %s", type(error).__name__)
                continue
            for each in asked:
                if each.ask.lease.token in unwanted and each.future is not None:
                    each.given_up = True
                    each.future.cancel()


def _about(ask: ModelRequest) -> dict[str, str | int]:
    """By the names that OpenTelemetry has for agents."""
    worker = ask.worker
    named = {"gen_ai.agent.name": worker.name, "gen_ai.provider.name": worker.provider or "none"}
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": worker.model_name or "mock", **named}


def _end_span(span: Span, result: ModelResult) -> None:
    report = result.report
    span.set_attribute("gen_ai.usage.input_tokens", report.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", report.output_tokens)
    if report.model:
        span.set_attribute("gen_ai.response.model", report.model)
    tell_outcome(span, result.outcome)
    span.end()


def _question(ask: ModelRequest, leases: LeaseKeeper, parent: str | None) -> ModelInput:
    """`parent`: what tools are told to be a part of; by default the step. Raises `PromptFailed` or `NotBound`."""
    reasoning = ask.reasoning
    if ask.undoes:
        rendered = undo_message(ask.arguments)
    else:
        rendered = prompts.render(reasoning.prompt, ask.arguments, ask.guidance)
    return ModelInput(
        worker=ask.worker,
        reasoning=reasoning,
        message=prompts.message(rendered, ask.previous, ask.guidance),
        system=ask.system,
        resources=resources.bind(reasoning.resources, ask.arguments),
        key=ask.idempotency_key,
        meta={"traceparent": parent or traceparent(ask.lease.id, ask.span_id)},
        timeout=ask.timeout,
        again=ask.again,
        ours=lambda: leases.holds(ask.lease),
        heard=leases.teller(ask.lease, ask.span_id, ask.execution.attempt),
    )


def _result(ask: ModelRequest, future: "Future[ModelResult]") -> ModelResult:
    try:
        return future.result()
    except CancelledError:
        # What its tools had done by then nobody knows.
        stopped = Error("CANCELLED", "the model was stopped: its answer was not wanted any more")
        return _without_model(ask, stopped, acted=bool(ask.reasoning.tools))
    except Exception as error:
        log.exception("a question broke off", extra={"idempotency_key": ask.idempotency_key})
        broken = Error("INTERNAL", f"internal error, see the worker's log: {type(error).__name__}")
        return _without_model(ask, broken, acted=bool(ask.reasoning.tools))


def _without_model(ask: ModelRequest, error: Error, *, acted: bool = False) -> ModelResult:
    worker = ask.worker
    report = RunReport(worker.provider or "", worker.model_name, mock=worker.provider == "mock", acted=acted)
    return ModelResult(Failed(error, acted), report)
