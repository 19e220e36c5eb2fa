"""Random sagas, random fates, and the laws that every run obeys, for any engine that can be driven like this.

The machine plays the tools (a ledger of what was carried out), the reviewers, the operator (who tells the truth) and
worker deaths. Only what it saw itself counts as truth; what the engine believes is what is judged.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.pauses.pause import Pause, Status
from domain.sagas.call_state import CallState
from domain.sagas.outcome import Done, Failed, Lost
from domain.sagas.saga import TERMINAL, Saga, SagaStatus
from domain.sagas.step import BROKEN, Step, StepStatus
from domain.values.errors import Conflict
from tests.domain.saga_fates import (
    CERTAIN,
    ERROR,
    HOWS,
    MODEL_REQUESTS,
    OFTEN_ANSWERED,
    OFTEN_DONE,
    SPECS,
    AnyCall,
    Engine,
    Spec,
    without_tools,
)


@dataclass
class Ledger:
    """The truth about each span: whether it was carried out, and how many calls may have been, as far as is known."""

    acted: set[int] = field(default_factory=set)
    open: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    handed_out: list[int] = field(default_factory=list)
    # Spans of which an operator has said that they may be carried out twice.
    forced: set[int] = field(default_factory=set)


class SagaMachine(RuleBasedStateMachine):
    engine: Engine
    call: AnyCall | None = None

    def open(self, specs: list[Spec]) -> Engine:
        raise NotImplementedError

    @initialize(specs=st.lists(SPECS, min_size=1, max_size=8))
    def begin(self, specs: list[Spec]) -> None:
        self.specs = {chr(97 + place): spec for place, spec in enumerate(specs)}
        self.engine = self.open(specs)
        self.ledger = Ledger()
        self.dead: list[AnyCall] = []
        self.superseded: list[AnyCall] = []
        self.ended: Saga | None = None
        self.seen: dict[UUID, Pause] = {}

    # --- workers and tools

    @precondition(lambda self: self.call is None and self.engine.is_due())
    @rule()
    def a_worker(self) -> None:
        self.engine.pass_time()
        call = self.engine.advance()
        self.superseded += self.dead
        self.dead = []
        self.took(call)

    @precondition(lambda self: self.call is not None or not self.engine.is_due())
    @rule()
    def a_hint_too_many(self) -> None:
        before = self.engine.saga()
        assert self.engine.advance() is None
        assert self.engine.saga() == before

    @precondition(lambda self: self.call is not None)
    @rule(data=st.data())
    def an_answer(self, data: Any) -> None:
        """Where one went astray before, anything may come; the first time most go well."""
        assert self.call is not None
        doubted = self.ledger.open[self.call.span_id]
        if self.reasons(self.call):
            self.ask_model(data.draw(st.sampled_from(sorted(MODEL_REQUESTS) if doubted else OFTEN_ANSWERED)))
        else:
            self.answer(data.draw(st.sampled_from(sorted(HOWS) if doubted else OFTEN_DONE)))

    def ask_model(self, how: str) -> None:
        ask = self.call
        assert ask is not None
        step = self.step(ask)
        spec = self.specs[step.id]
        self.call = None
        if ask.again and spec.acts and not spec.tool_hint:
            # As a worker does it: it looks at the tools first, and then does not ask.
            self.engine.record_model_result(ask, Lost("lost before", False), True)
            return
        acted, outcome = MODEL_REQUESTS[how]
        if spec.acts:
            self.requested(step, spec.tool_hint or how == "not asked")
            self.acted(step, acted, in_doubt=acted or outcome is None)
        elif isinstance(outcome, Lost):
            outcome = Failed(ERROR)
        elif acted and outcome is not None:
            outcome = without_tools(outcome)
        if outcome is None:
            self.engine.die()
            self.dead.append(ask)
        else:
            # A tool that may be asked again may have acted already.
            self.engine.record_model_result(ask, outcome, spec.acts and (acted or ask.again))

    def acted(self, step: Step, carried_out: bool, *, in_doubt: bool) -> None:
        if carried_out:
            self.ledger.acted.add(step.span_id)
        if in_doubt:
            self.ledger.open[step.span_id] += 1

    def answer(self, how: str) -> None:
        call = self.call
        assert call is not None
        step = self.step(call)
        bears = self.specs[step.id].bears_repeating(undo=step.compensates is not None)
        if call.again and not bears:
            # As a worker does it: it asks the tool for its hint first, and then does not call.
            self.call = None
            self.took(self.engine.record(call, Lost("lost before", False)))
            return
        carried_out, outcome = HOWS[how]
        if how != "not sent":
            self.requested(step, bears)
        self.acted(step, carried_out, in_doubt=how not in CERTAIN)
        self.call = None
        if outcome is None:
            self.engine.die()
            self.dead.append(call)
        else:
            self.took(self.engine.record(call, outcome(bears)))

    @precondition(lambda self: self.superseded)
    @rule()
    def a_late_answer(self) -> None:
        """The answer of a worker that was given up is dropped, whatever it says."""
        before, late = self.engine.saga(), self.superseded.pop()
        if self.reasons(late):
            self.engine.record_model_result(late, Done({"n": 3}), True)
        else:
            assert self.engine.record(late, Done("late")) is None
        assert self.engine.saga() == before

    # --- people

    @precondition(lambda self: self.engine.pauses())
    @rule(data=st.data(), how=st.sampled_from(["approve"] * 5 + ["edit", "edit", "reject", "nobody"]))
    def decide(self, data: Any, how: str) -> None:
        """Most of all what is held now; but also any pause there ever was."""
        current = self.current()
        held = [] if current is None or current.watch_id is None else [current.watch_id] * 9
        watch_id = data.draw(st.sampled_from([*held, *sorted(self.engine.pauses())]))
        if how in ("approve", "edit"):
            self.allowed_to_fail(self.engine.approve, watch_id, {"n": 2} if how == "edit" else None)
        else:
            self.allowed_to_fail(self.engine.reject if how == "reject" else self.engine.expire, watch_id)

    @precondition(lambda self: self.engine.saga().status is SagaStatus.AWAITING_HUMAN)
    @rule()
    def once_more_please(self) -> None:
        step = self.current()
        assert step is not None
        self.allowed_to_fail(self.engine.rerun, step)
        if self.ledger.open[step.span_id]:
            # The reviewer sees which tools the model has called, and wants it asked again.
            self.ledger.forced.add(step.span_id)

    @precondition(lambda self: len(self.ledger.handed_out) > 1)
    @rule(really=st.sampled_from([True, False, False]))
    def cancel(self, really: bool) -> None:
        if really:
            self.allowed_to_fail(self.engine.cancel)

    @precondition(lambda self: self.engine.saga().needs_operator)
    @rule(by_hand=st.booleans())
    def resolve(self, by_hand: bool) -> None:
        """The operator has looked, and tells the truth; what failed to be undone may have been undone by hand."""
        step = self.current()
        assert step is not None
        if by_hand and step.status in BROKEN:
            self.ledger.acted.add(step.span_id)
        self.ended = None
        done = step.span_id in self.ledger.acted
        if step.compensates is None and self.specs[step.id].reasons:
            # A model's missing answer cannot be known.
            with pytest.raises(Conflict):
                self.engine.resolve(step, done)
            return
        self.engine.resolve(step, done)
        assert self.engine.saga().current != step or step.status in BROKEN
        assert not (step.status in BROKEN and self.engine.saga().needs_operator), "seen to, and asked for again"
        if not done:
            self.ledger.open[step.span_id] = 0

    @precondition(lambda self: self.may_be_stuck())
    @rule(force=st.booleans(), allow_destructive=st.booleans())
    def retry(self, force: bool, allow_destructive: bool) -> None:
        step = self.current()
        assert step is not None
        at_it = self.call is not None and self.call.span_id == step.span_id
        try:
            answer = self.engine.retry(step, force, allow_destructive)
        except Conflict:
            return
        if answer == "claim_active":
            assert at_it
            assert not force
            return
        if allow_destructive:
            self.ledger.forced.add(step.span_id)
        if answer == "scheduled":
            self.ended = None
        if at_it:
            # Stopped, and never goes on to make its call; the engine cannot know.
            assert self.call is not None
            self.acted(step, False, in_doubt=not self.reasons(self.call) or self.specs[step.id].acts)
            self.superseded.append(self.call)
            self.call = None

    # --- laws

    def took(self, call: AnyCall | None) -> None:
        self.call = call
        if call is None:
            return
        step = self.step(call)
        saga, spec = self.engine.saga(), self.specs[step.id]
        if step.compensates is None:
            assert saga.cancelled is None or call.again, "it begins although the saga was cancelled"
            assert spec.runs
            assert spec.allowed or spec.reasons, "a policy's no was overridden"
            if spec.hitl and not spec.reasons:
                self.check_approved(step, call)
            for earlier in saga.steps[: step.order]:
                assert earlier.status in (StepStatus.COMPLETED, StepStatus.SKIPPED), "two steps at once"
        else:
            self.check_undo(saga, step)
        self.ledger.handed_out.append(step.span_id)

    def check_approved(self, step: Step, call: AnyCall) -> None:
        assert step.watch_id is not None
        pause = self.engine.pauses()[step.watch_id]
        assert pause.status is Status.APPROVED, "it runs, and nobody approved it"
        assert call.arguments == pause.arguments, "something else runs than what was approved"

    def check_undo(self, saga: Saga, undo: Step) -> None:
        """LIFO, and only of what may have acted."""
        forward = saga.undone_by(undo)
        answered = forward.output is not None
        assert self.ledger.open[forward.span_id] or answered, "an undo of what certainly did nothing"
        assert forward.span_id in self.ledger.handed_out
        for later in saga.steps[forward.order + 1 :]:
            if later.span_id in self.ledger.acted and self.specs[later.id].undoable:
                assert later.status is StepStatus.COMPENSATED, "undone before what came after it"

    def requested(self, step: Step, bears_repeating: bool) -> None:
        """It reaches the tool."""
        if self.ledger.open[step.span_id] and not bears_repeating:
            assert step.span_id in self.ledger.forced, "asked twice of a tool that does not bear it"
            self.ledger.forced.discard(step.span_id)

    @invariant()
    def the_end_is_the_end(self) -> None:
        saga = self.engine.saga()
        if self.ended is not None:
            assert saga == self.ended
        if saga.status in TERMINAL:
            self.ended = saga
            assert not any(step.status is StepStatus.PENDING for step in saga.steps)

    @invariant()
    def what_is_decided_stays_decided(self) -> None:
        pauses = self.engine.pauses()
        for watch_id, before in self.seen.items():
            if before.status is Status.PENDING:
                continue
            pause, used = pauses[watch_id], before.consumption
            assert replace(pause, consumption=used) == before
            if used is not None:
                assert pause.consumption is not None
                assert (pause.consumption.at, pause.consumption.key) == (used.at, used.key), "used twice"
        self.seen = pauses

    @invariant()
    def a_policy_never_holds(self) -> None:
        for step in self.engine.saga().steps:
            if not (self.specs[step.id].allowed and self.specs[step.id].runs):
                assert step.watch_id is None

    @invariant()
    def compensated_is_true(self) -> None:
        saga = self.engine.saga()
        if saga.status is not SagaStatus.COMPENSATED:
            return
        undos = {undo.compensates: undo.span_id for undo in saga.undos}
        for step in saga.steps:
            if step.span_id in self.ledger.acted and self.specs[step.id].undoable:
                assert undos[step.span_id] in self.ledger.acted, "said to be undone, and is not"
            elif step.span_id in self.ledger.acted:
                # Done, and there is no undo for it: the manifest wants it to stay.
                assert step.status is StepStatus.COMPLETED
            assert not step.outcome_unknown
        assert all(undo.status is StepStatus.COMPLETED for undo in saga.undos)

    @invariant()
    def a_step_tells_the_truth(self) -> None:
        """Done is done; and what failed with nothing in doubt did nothing."""
        saga = self.engine.saga()
        for step in (*saga.steps, *saga.undos):
            reasons = step.compensates is None and self.specs[step.id].reasons
            if step.status is StepStatus.COMPLETED:
                assert step.span_id in self.ledger.acted or reasons
            elif step.status in (StepStatus.FAILED, StepStatus.SKIPPED) and not step.call.may_have_acted:
                assert step.span_id not in self.ledger.acted, "said to have done nothing, and has"

    @invariant()
    def what_a_model_answers_is_judged_and_approved(self) -> None:
        """Before it is merged; and what is merged is what was approved."""
        for step in self.engine.saga().steps:
            spec = self.specs[step.id]
            if not spec.reasons or step.output is None:
                continue
            assert spec.allowed, "a policy's no was overridden"
            assert (step.watch_id is not None) is spec.hitl
            if step.watch_id is not None:
                pause = self.engine.pauses()[step.watch_id]
                assert (pause.status, pause.arguments) == (Status.APPROVED, step.output)

    @invariant()
    def a_modelwithout_tools_leaves_no_doubt(self) -> None:
        for step in self.engine.saga().steps:
            spec = self.specs[step.id]
            if spec.reasons and not spec.acts:
                assert step.call in (CallState.CLOSED, CallState.RETRY)

    @invariant()
    def it_goes_on_or_a_person_is_told(self) -> None:
        saga = self.engine.saga()
        if self.engine.is_due() or saga.status in TERMINAL or saga.needs_operator:
            return
        current = saga.current
        assert current is not None
        assert current.status is StepStatus.AWAITING_HUMAN
        assert current.watch_id is not None
        assert self.engine.pauses()[current.watch_id].status is Status.PENDING

    @invariant()
    def nobody_is_asked_for_nothing(self) -> None:
        saga = self.engine.saga()
        waiting = {pause.id for pause in self.engine.pauses().values() if pause.status is Status.PENDING}
        assert waiting <= {step.watch_id for step in saga.steps if step.status is StepStatus.AWAITING_HUMAN}

    def teardown(self) -> None:
        """Left alone, with tools that work, it comes to an end or to a person."""
        if not hasattr(self, "engine"):
            return
        for _ in range(100):
            if self.call is not None and self.reasons(self.call):
                self.ask_model("acted and answered")
            elif self.call is not None:
                self.answer("done")
            elif self.engine.is_due():
                self.a_worker()
            else:
                break
        assert not self.engine.is_due(), "it never comes to rest"
        self.compensated_is_true()
        self.a_step_tells_the_truth()
        self.it_goes_on_or_a_person_is_told()

    # --- short cuts

    def step(self, call: AnyCall) -> Step:
        step = self.engine.saga().find(call.span_id)
        assert step is not None
        return step

    def reasons(self, call: AnyCall) -> bool:
        step = self.step(call)
        return step.compensates is None and self.specs[step.id].reasons

    def may_be_stuck(self) -> bool:
        current = self.current()
        return current is not None and current.status in (
            StepStatus.IN_PROGRESS,
            StepStatus.FAILED,
            StepStatus.TIMED_OUT,
        )

    def current(self) -> Step | None:
        return self.engine.saga().current

    def allowed_to_fail(self, act: Callable[..., None], *args: Any) -> None:
        try:
            act(*args)
        except Conflict:
            self.what_is_decided_stays_decided()
