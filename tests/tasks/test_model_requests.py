"""Questions that cannot even be asked, and those that a worker is at when it is made to end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pytest

from domain.manifests.definition import Adapter, Reasoning, WorkerDefinition
from domain.sagas.outcome import Failed
from domain.sagas.reasoning import ModelInput, ModelResult
from services.kernel.group_commit import GroupCommit
from services.kernel.leases import SAGA, Lease
from services.kernel.unit_of_work import Database
from services.sagas.turns import Taken, Turn
from services.sagas.work import Execution, ModelRequest
from tasks import model_requests
from tasks.leases import LeaseKeeper
from tasks.model_requests import ModelRequests
from tasks.slots import Slot
from tests.faults.scene import until
from tests.tasks.test_slots import fill

WORKER = WorkerDefinition("w", "default", "1", "", "mock", None, 0.0, None, None, ())


def ask(prompt: str = "What?") -> ModelRequest:
    adapter, schema = Adapter.SIMPLE, {"type": "object"}
    reasoning = Reasoning(prompt, "inline", adapter, (), (), (), schema, 10, None, keep_transcript=False, script=())
    return ModelRequest(
        lease=Lease(SAGA, uuid4(), uuid4()),
        span_id=1,
        worker=WORKER,
        system=None,
        undoes=False,
        reasoning=reasoning,
        arguments={},
        previous=None,
        guidance=None,
        idempotency_key="fwd-1",
        timeout=5.0,
        again=False,
        queue_ms=0.0,
        execution=Execution("any", "1", "default", "one", False, 1),
    )


class Model:
    """Never answers."""

    def __init__(self) -> None:
        self.future: Future[ModelResult] = Future()

    def ask_model(self, question: ModelInput) -> "Future[ModelResult]":
        return self.future


def stop(future: "Future[ModelResult]") -> None:
    future.cancel()


def fail(future: "Future[ModelResult]") -> None:
    future.set_exception(RuntimeError("a fault of the library's"))


def broken() -> Any:
    raise ImportError("no such library")


NO_TURNS: GroupCommit[Turn, Taken] = GroupCommit(lambda wanted: [Taken() for _ in wanted()])


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[ModelResult]:
    found: SimpleQueue[ModelResult] = SimpleQueue()
    monkeypatch.setattr(model_requests, "record_model_result", lambda ask, result, report, jitter: found.put(result))
    return found


@pytest.mark.parametrize(("prompt", "code"), [("What?", "INTERNAL"), ("{{ 1 // 0 }}", "PROMPT_FAILED")])
def test_the_step_fails(prompt: str, code: str, worker: Database, recorded: SimpleQueue[ModelResult]) -> None:
    """And the worker is free of it."""
    leases = LeaseKeeper(worker)
    asked = ask(prompt)
    made = ModelRequests(worker, NO_TURNS, leases, broken)
    made.begin(asked)
    draining = threading.Thread(target=made.drain, daemon=True)
    draining.start()
    draining.join(90)
    assert not draining.is_alive(), "it is kept for ever"
    outcome = recorded.get(timeout=90).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.acted) == (code, False)
    assert not leases.holds(asked.lease)


def test_a_worker_made_to_end_records_no_model_results(worker: Database, recorded: SimpleQueue[ModelResult]) -> None:
    """Its loop stops while they run. They are not cancelled, so another worker continues them."""
    model = Model()
    made = ModelRequests(worker, NO_TURNS, LeaseKeeper(worker), lambda: model)
    made.begin(ask())
    model.future.cancel()
    # An earlier result is recorded earlier.
    made.begin(ask("{{ 1 // 0 }}"))
    outcome = recorded.get(timeout=90).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "PROMPT_FAILED"


@pytest.mark.parametrize("end", [stop, fail])
def test_a_question_that_ends_without_an_answer_gives_up_its_place_and_its_lease(
    end: Callable[["Future[ModelResult]"], None], worker: Database, recorded: SimpleQueue[ModelResult]
) -> None:
    """Whatever ended it, this process is not asked for it any more: the worker can end, another can go on."""
    model, leases = Model(), LeaseKeeper(worker)
    asked, made = ask(), ModelRequests(worker, NO_TURNS, leases, lambda: model)
    slot = Slot(made.places, asked.lease.id)
    assert slot.take("default")
    made.begin(asked, slot)
    assert leases.holds(asked.lease)
    end(model.future)
    until("it is let go of", lambda: not leases.holds(asked.lease))
    draining = threading.Thread(target=made.drain, daemon=True)
    draining.start()
    draining.join(90)
    assert not draining.is_alive(), "it is kept for ever"
    assert fill(made.places, "default") == 64, "its place is lost"
