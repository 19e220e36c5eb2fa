"""Workers that die or freeze in the middle of tool calls: each effect once, or a person is asked."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cli.devstack import Stack
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import DROPPED, until
from tests.faults.slow_ledger import AFTER, BEFORE, MIDDLE
from tests.faults.test_workers import freeze

# By whether it may be repeated.
CHARGE = {True: "charge", False: "charge_once"}
REVERSE = {True: "reverse", False: "reverse_once"}


@pytest.fixture
def scene(fragile: Stack) -> Iterator[SagaScene]:
    with SagaScene(fragile) as scene:
        for source in ("ledger", "late"):
            for repeats in (True, False):
                deploy(scene, source, repeats)
        yield scene


def deploy(scene: SagaScene, source: str, repeats: bool) -> None:
    first = "$.input.first"
    tool, back = CHARGE[repeats], REVERSE[repeats]
    scene.deploy_saga(
        f"do-{source}-{repeats}".lower(),
        step("one", "charge", first, **undo("reverse", first)),
        step("two", tool, source=source, **undo("reverse")),
    )
    scene.deploy_saga(
        f"undo-{source}-{repeats}".lower(),
        step("one", "charge", first, **undo(back, source=source)),
        step("two", "decline"),
    )


@dataclass(frozen=True)
class Case:
    """One saga, and where its call, or its undo's, is when the worker is hit. `before`: before the call is sent."""

    moment: str
    undoes: bool
    repeats: bool

    @property
    def customer(self) -> str:
        return f"{'undo' if self.undoes else 'do'}-{self.moment}-{'repeats' if self.repeats else 'once'}"

    @property
    def first(self) -> str:
        return f"first-{self.customer}"

    @property
    def tool(self) -> str:
        return (REVERSE if self.undoes else CHARGE)[self.repeats]

    def start(self, scene: SagaScene) -> str:
        source = "late" if self.moment == BEFORE else "ledger"
        name = f"{'undo' if self.undoes else 'do'}-{source}-{self.repeats}".lower()
        if self.moment != BEFORE:
            scene.ledger.hold(self.customer, self.tool, self.moment)
        return scene.start_saga(name, customer=self.customer, first=self.first)

    def step(self, scene: SagaScene, trace_id: str) -> dict[str, Any]:
        return scene.step(trace_id, "one" if self.undoes else "two", undo=self.undoes)

    def is_there(self, scene: SagaScene, trace_id: str) -> bool:
        if self.moment == BEFORE:
            return self.step(scene, trace_id).get("status") == "IN_PROGRESS"
        return bool(scene.ledger.calls(self.customer, self.tool, self.moment))

    def check_repeated(self, scene: SagaScene, trace_id: str) -> None:
        """Under the same key: so it has acted once."""
        assert scene.saga(trace_id)["status"] == ("COMPENSATED" if self.undoes else "COMPLETED"), self
        assert self.step(scene, trace_id)["attempt"] == 2, self
        keys = scene.ledger.calls(self.customer, self.tool)
        assert len(keys) == (1 if self.moment == BEFORE else 2), self
        assert len(set(keys)) == 1, self
        assert scene.ledger.entries(self.customer) == [self.tool], self

    def check_unknown(self, scene: SagaScene, trace_id: str) -> None:
        """It was not called again, and nothing goes on."""
        saga, step_ = scene.saga(trace_id), self.step(scene, trace_id)
        assert (saga["status"], saga["needs_operator"]) == ("COMPENSATING" if self.undoes else "RUNNING", True), self
        assert (step_["status"], step_["error_details"]["code"]) == ("IN_PROGRESS", "OUTCOME_UNKNOWN"), self
        self.check_called(scene)

    def check_called(self, scene: SagaScene) -> None:
        """At most once, and with that effect."""
        expected = [] if self.moment == BEFORE else [self.tool]
        assert scene.ledger.entries(self.customer) == expected, self
        assert len(scene.ledger.calls(self.customer, self.tool)) == len(expected), self

    def resolve(self, scene: SagaScene, trace_id: str) -> None:
        """The operator has looked into the ledger."""
        done = scene.ledger.entries(self.customer) == [self.tool]
        assert done is (self.moment != BEFORE), self
        scene.resolve(trace_id, self.step(scene, trace_id), done=done)

    def check_resolved(self, scene: SagaScene, trace_id: str) -> None:
        self.check_called(scene)
        status = scene.saga(trace_id)["status"]
        if self.undoes:
            assert status == ("FAILED" if self.moment == BEFORE else "COMPENSATED"), self
            assert scene.ledger.entries(self.first) == ["charge"], self
        else:
            assert status == ("COMPENSATED" if self.moment == BEFORE else "COMPLETED"), self
            expected = ["charge", "reverse"] if self.moment == BEFORE else ["charge"]
            assert scene.ledger.entries(self.first) == expected, self


def test_worker_killed_before_during_and_after_calls(scene: SagaScene) -> None:
    """The cases cover steps and undos, with tools that may be repeated and tools that may not."""
    moments = (BEFORE, MIDDLE, AFTER)
    cases = [
        Case(moment, undoes, repeats) for moment in moments for undoes in (False, True) for repeats in (True, False)
    ]
    with scene.frozen("late"):
        sagas = {case: case.start(scene) for case in cases}
        for case, trace_id in sagas.items():
            until(f"{case} is there", lambda case=case, trace_id=trace_id: case.is_there(scene, trace_id))
        scene.stack.kill("worker", signal.SIGKILL)
        scene.mark_failure()
    scene.ledger.release()
    scene.settle("worker killed before, during and after calls")
    unknown = {case: trace_id for case, trace_id in sagas.items() if not case.repeats}
    for case, trace_id in sagas.items():
        (case.check_repeated if case.repeats else case.check_unknown)(scene, trace_id)
    scene.mark_failure()
    for case, trace_id in unknown.items():
        case.resolve(scene, trace_id)
    scene.settle("a person says what came of the calls")
    for case, trace_id in unknown.items():
        case.check_resolved(scene, trace_id)
    retry_undo(scene, Case(BEFORE, True, False), unknown)


def retry_undo(scene: SagaScene, case: Case, sagas: dict[Case, str]) -> None:
    """An undo that was not done leaves the saga FAILED until an operator has it tried again."""
    trace_id = sagas[case]
    scene.order("operator", trace_id, case.step(scene, trace_id)["step_span_id"], "retry-compensation")
    scene.reads_as(trace_id, "COMPENSATED")
    assert scene.ledger.entries(case.customer) == [case.tool]


def dropped(scene: SagaScene) -> int:
    """Return how many results the first worker has dropped."""
    return scene.log("worker").count(DROPPED)


def test_frozen_workers_call_is_not_made_once_a_person_has_settled_it(scene: SagaScene) -> None:
    """It stood still between its claim and the call: it waited for its tool server, and is woken up long after."""
    pid = scene.stack.pid("worker")
    cases = [Case(BEFORE, undoes, False) for undoes in (False, True)]
    with scene.frozen("late"):
        sagas = {case: case.start(scene) for case in cases}
        for case, trace_id in sagas.items():
            until(f"{case} is there", lambda case=case, trace_id=trace_id: case.is_there(scene, trace_id))
        freeze(pid)
    # From now on the server answers: to call is the first thing that the worker does when it wakes up.
    scene.mark_failure()
    other = scene.stack.add("worker")
    try:
        scene.settle("another worker takes over from a frozen one")
        for case, trace_id in sagas.items():
            case.check_unknown(scene, trace_id)
            case.resolve(scene, trace_id)
        scene.mark_failure()
        scene.settle("a person says that the calls were not made")
        before = {trace_id: scene.saga(trace_id) for trace_id in sagas.values()}
    finally:
        os.kill(pid or 0, signal.SIGCONT)
    until("it gave its calls up", lambda: dropped(scene) == len(cases))
    assert {trace_id: scene.saga(trace_id) for trace_id in sagas.values()} == before
    for case, trace_id in sagas.items():
        case.check_resolved(scene, trace_id)
    scene.stack.stop_process(other)


def test_frozen_workers_late_result_is_dropped(scene: SagaScene) -> None:
    """It wakes up after another has taken over: what it has to say by then must not count."""
    cases = [Case(AFTER, undoes, repeats) for undoes in (False, True) for repeats in (True, False)]
    sagas = {case: case.start(scene) for case in cases}
    for case, trace_id in sagas.items():
        until(f"{case} is there", lambda case=case, trace_id=trace_id: case.is_there(scene, trace_id))
    pid = scene.stack.pid("worker")
    freeze(pid)
    scene.mark_failure()
    # The tools answer the frozen worker at once, so that it wakes up with results in its hands.
    scene.ledger.release()
    other = scene.stack.add("worker")
    try:
        scene.settle("another worker takes over from a frozen one")
        before = {trace_id: scene.saga(trace_id) for trace_id in sagas.values()}
    finally:
        os.kill(pid or 0, signal.SIGCONT)
    until("it dropped its results", lambda: dropped(scene) == len(cases))
    assert {trace_id: scene.saga(trace_id) for trace_id in sagas.values()} == before
    for case, trace_id in sagas.items():
        (case.check_repeated if case.repeats else case.check_unknown)(scene, trace_id)
        if not case.repeats:
            case.resolve(scene, trace_id)
    scene.mark_failure()
    scene.settle("a person says what came of the calls")
    for case, trace_id in sagas.items():
        if not case.repeats:
            case.check_resolved(scene, trace_id)
    scene.stack.stop_process(other)
