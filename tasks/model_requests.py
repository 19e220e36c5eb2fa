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
from domain.sagas.reasoning import Question, Report, Thought
from domain.sagas.serialization import report_document, traceparent
from domain.sagas.step import Error
from services.kernel.connection_pool import DatabaseAway
from services.kernel.leases import SAGA
from services.kernel.unit_of_work import Hint, Store
from services.sagas.engine import given_up, record_thought
from services.sagas.work import Ask
from tasks.leases import LeaseKeeper
from tasks.retry_while_leased import insist
from tasks.slots import Places, Seat
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


class Thinker(Protocol):
    def think(self, question: Question) -> "Future[Thought]": ...


@dataclass(slots=True)
class _Asked:
    ask: Ask
    began: float
    prompt_digest: str | None = None
    future: "Future[Thought] | None" = None
    given_up: bool = False
    span: Span = INVALID_SPAN
    seat: Seat | None = None


class Thoughts:
    """`thinker` is called at the first question: a process that asks none does without its library.

    Attributes:
        places: for those that are under way.
    """

    def __init__(
        self, store: Store, leases: LeaseKeeper, thinker: Callable[[], Thinker], tracer: "Tracer | None" = None
    ) -> None:
        self._store, self._leases, self._thinker, self._tracer = store, leases, thinker, tracer
        self.places = Places(MOST, lambda row: store.signals.publish([Hint(SAGA, row, chosen=True)], []))
        # By the token of their lease.
        self._asked: dict[UUID, _Asked] = {}
        self._changed = threading.Condition()
        self._answered: queue.SimpleQueue[tuple[_Asked, Thought]] = queue.SimpleQueue()
        for number in range(_RECORDERS):
            threading.Thread(target=self._record_all, name=f"thoughts-{number}", daemon=True).start()
        threading.Thread(target=self._look, name="thoughts-wanted", daemon=True).start()

    def begin(self, ask: Ask, seat: Seat | None = None) -> None:
        """Returns when the model has been asked. `seat`: its place, given back when the answer is recorded."""
        asked = _Asked(ask, time.perf_counter(), seat=seat)
        self._leases.keep(ask.lease)
        with self._changed:
            self._asked[ask.lease.token] = asked
            self._changed.notify_all()
        try:
            asked.span = execution_span(self._tracer, ask, "internal", _about(ask))
            question = _question(ask, self._leases, tracing.traceparent(asked.span))
            asked.prompt_digest = hashlib.sha256(question.message.encode()).hexdigest()
            with tracing.current(self._tracer, asked.span):
                asked.future = self._thinker().think(question)
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

    def _came(self, asked: _Asked, future: "Future[Thought]") -> None:
        if future.cancelled() and not asked.given_up:
            # The worker ends by force, or a library cancelled the task. The question is still wanted: once its lease
            # runs out, a worker goes on with it.
            tracing.fail(asked.span, "WORKER_ENDED")
            asked.span.end()
            self._let_go(asked)
            return
        self._answered.put((asked, _thought(asked.ask, future)))

    def _let_go(self, asked: _Asked) -> None:
        """The place and the lease are free, whatever came of the question."""
        self._leases.drop(asked.ask.lease)
        try:
            if asked.seat is not None:
                asked.seat.give_back()
        finally:
            with self._changed:
                del self._asked[asked.ask.lease.token]
                self._changed.notify_all()

    def _record_all(self) -> None:
        while True:
            asked, thought = self._answered.get()
            logged_trace.set(asked.ask.lease.id.hex)
            try:
                _end_span(asked.span, thought)
                self._record(asked, thought)
            except DatabaseAway as error:
                log.warning("a model's answer is lost, as the database is away: %s", error)
            except Exception:
                log.exception("a model's answer could not be recorded")
            finally:
                logged_trace.set(None)
                self._let_go(asked)

    def _record(self, asked: _Asked, thought: Thought) -> None:
        ask, report = asked.ask, thought.report
        took = (time.perf_counter() - asked.began) * 1000
        schedule_ms = max(0.0, took - report.setup_ms - report.llm_ms - report.tool_ms)
        about = {"prompt_ref": ask.thinking.prompt_ref, "prompt_digest": asked.prompt_digest}
        document = report_document(report, schedule_ms, ask.queue_ms) | about
        jitter = random.random()  # noqa: S311  (no secret)
        insist(lambda: record_thought(self._store, ask, thought, document, jitter))

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                asked = list(self._asked.values())
            pause.wait(_LOOK_EVERY)
            try:
                unwanted = given_up(self._store, [each.ask.lease for each in asked])
            except Exception as error:  # the database may be away: the next look may find it
                log.warning("not seen whether answers are still wanted: %s", type(error).__name__)
                continue
            for each in asked:
                if each.ask.lease.token in unwanted and each.future is not None:
                    each.given_up = True
                    each.future.cancel()


def _about(ask: Ask) -> dict[str, str | int]:
    """By the names that OpenTelemetry has for agents."""
    worker = ask.worker
    named = {"gen_ai.agent.name": worker.name, "gen_ai.provider.name": worker.provider or "none"}
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": worker.model_name or "mock", **named}


def _end_span(span: Span, thought: Thought) -> None:
    report = thought.report
    span.set_attribute("gen_ai.usage.input_tokens", report.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", report.output_tokens)
    if report.model:
        span.set_attribute("gen_ai.response.model", report.model)
    tell_outcome(span, thought.outcome)
    span.end()


def _question(ask: Ask, leases: LeaseKeeper, parent: str | None) -> Question:
    """`parent`: what tools are told to be a part of; by default the step. Raises `PromptFailed` or `NotBound`."""
    thinking = ask.thinking
    if ask.undoes:
        rendered = undo_message(ask.arguments)
    else:
        rendered = prompts.render(thinking.prompt, ask.arguments, ask.guidance)
    return Question(
        worker=ask.worker,
        thinking=thinking,
        message=prompts.message(rendered, ask.previous, ask.guidance),
        system=ask.system,
        resources=resources.bind(thinking.resources, ask.arguments),
        key=ask.idempotency_key,
        meta={"traceparent": parent or traceparent(ask.lease.id, ask.span_id)},
        timeout=ask.timeout,
        again=ask.again,
        ours=lambda: leases.holds(ask.lease),
        heard=leases.teller(ask.lease, ask.span_id, ask.execution.attempt),
    )


def _thought(ask: Ask, future: "Future[Thought]") -> Thought:
    try:
        return future.result()
    except CancelledError:
        # What its tools had done by then nobody knows.
        stopped = Error("CANCELLED", "the model was stopped: its answer was not wanted any more")
        return _without_model(ask, stopped, acted=bool(ask.thinking.tools))
    except Exception as error:
        log.exception("a question broke off", extra={"idempotency_key": ask.idempotency_key})
        broken = Error("INTERNAL", f"internal error, see the worker's log: {type(error).__name__}")
        return _without_model(ask, broken, acted=bool(ask.thinking.tools))


def _without_model(ask: Ask, error: Error, *, acted: bool = False) -> Thought:
    worker = ask.worker
    report = Report(worker.provider or "", worker.model_name, mock=worker.provider == "mock", acted=acted)
    return Thought(Failed(error, acted), report)
