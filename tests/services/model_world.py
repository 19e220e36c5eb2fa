"""Reason steps for the service tests: short manifests, and a worker whose model answers what the test gives it."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.sagas.outcome import Done, Outcome
from domain.sagas.reasoning import ModelResult, RunReport
from domain.sagas.serialization import report_document
from services.kernel.unit_of_work import Database
from services.sagas.work import ModelRequest, ToolCall
from tests.services.saga_turns import advance, record, record_model_result
from tests.services.saga_world import OF_WORKER, Tools, looked_up, saga_of, tools, undone

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
# In the worker's report, what the engine itself knows nothing of.
ABOUT = {"prompt_ref": "inline", "prompt_digest": "d" * 64}


def reason(id_: str, *, undo: bool = False, **more: Any) -> dict[str, Any]:
    """A reason step with `n` of the saga's input; it answers {"n": …}. With tools it is `react`; undone as a `step`."""
    made = {"id": id_, "kind": "reason", **OF_WORKER, "with": {"n": {"from": "$.input.n"}}}
    made |= {"prompt": {"inline": "What of {{ n }}?"}, "output_schema": SCHEMA}
    made |= {"agent-adapter": "react" if "tools" in more else "simple"}
    return made | (undone(id_) if undo else {}) | more


def result(outcome: Outcome | int, facts: dict[str, Any] | None = None, **report: Any) -> ModelResult:
    """Return a model result. `outcome`: a number n means the answer `{"n": n}`."""
    came = Done({"n": outcome}) if isinstance(outcome, int) else outcome
    return ModelResult(came, RunReport(**{"provider": "mock", "model": None, "mock": True} | report), facts or {})


@dataclass
class Model:
    """Plays every model.

    Attributes:
        answers: the next results of a step, by its id. When none is left, the result is `{"n": 1}`.
        asked: in the order of the questions.
    """

    answers: dict[str, list[ModelResult]] = field(default_factory=lambda: defaultdict(list))
    asked: list[ModelRequest] = field(default_factory=list)

    def ask_model(self, step_id: str, ask: ModelRequest) -> ModelResult:
        self.asked.append(ask)
        waiting = self.answers[step_id]
        return waiting.pop(0) if waiting else result(1)


def model(**answers: ModelResult | Outcome | int | list[ModelResult | Outcome | int]) -> Model:
    made = Model()
    for id_, given in answers.items():
        every = given if isinstance(given, list) else [given]
        made.answers[id_] = [each if isinstance(each, ModelResult) else result(each) for each in every]
    return made


def go_on(database: Database, trace_id: UUID, model: Model, used: Tools | None = None) -> Tools:
    """Do what workers do on wake-ups, until no row is due. Return the tools that they used."""
    used = used or tools()
    while (ask := _next_question(database, trace_id, used)) is not None:
        step = saga_of(database, trace_id).find(ask.span_id)
        assert step is not None
        answer(database, ask, model.ask_model(step.id, ask))
    return used


def _next_question(database: Database, trace_id: UUID, used: Tools) -> ModelRequest | None:
    work = looked_up(database, advance(database, trace_id), used)
    while isinstance(work, ToolCall):
        work = looked_up(database, record(database, work, used.make(work), {}, 0.5), used)
    assert work is None or isinstance(work, ModelRequest)
    return work


def answer(database: Database, ask: ModelRequest, result: ModelResult) -> None:
    record_model_result(database, ask, result, report_document(result.report, 1.0, ask.queue_ms) | ABOUT, 0.5)


def asked(database: Database, trace_id: UUID) -> ModelRequest:
    """A worker whose model is thinking; calls on the way to that are made."""
    ask = _next_question(database, trace_id, tools())
    assert ask is not None, "it could not be claimed, or there is nothing to ask"
    return ask
