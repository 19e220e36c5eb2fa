"""The laws of sagas over `domain` alone: an engine of a few lines, with nothing but values."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import settings

from domain.pauses.pause import (
    STEP,
    Actor,
    Approve,
    Cancel,
    Command,
    Pause,
    Reject,
    Status,
    Timeout,
    decide,
    is_satisfied_by,
)
from domain.sagas import step as steps
from domain.sagas.outcome import CALLS_AGAIN, Done, Failed, Lost, NotSent, Outcome, TimedOut, postponement
from domain.sagas.saga import TERMINAL, Saga, SagaStatus, change_step, resume_undoing, seen_to, settle
from domain.sagas.step import BROKEN, Error, Step, StepStatus
from domain.values import canonical_json
from domain.values.errors import AlreadyResolved, Conflict
from tests.domain.saga_fates import Spec
from tests.domain.saga_laws import SagaMachine

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNE, SYSTEM_CLOCK = Actor("key_anne", "Anne"), timedelta(hours=2)


@dataclass(frozen=True)
class Call:
    span_id: int
    arguments: dict[str, Any]
    again: bool
    token: int


class InMemory:
    """As services.sagas.engine does it, without a database."""

    def __init__(self, specs: list[Spec]) -> None:
        self._numbers = count(1)
        made = tuple(Step(next(self._numbers), chr(97 + place), place) for place in range(len(specs)))
        self._saga = Saga(UUID(int=1), "default", SagaStatus.PENDING, {}, made)
        self._specs = {step.id: spec for step, spec in zip(made, specs, strict=True)}
        self._undoable = {id_ for id_, spec in self._specs.items() if spec.undoable}
        self._pauses: dict[UUID, Pause] = {}
        self._due, self._lease, self._leased = True, 0, False

    def saga(self) -> Saga:
        return self._saga

    def is_due(self) -> bool:
        return self._due

    def pauses(self) -> dict[UUID, Pause]:
        return dict(self._pauses)

    def pass_time(self) -> None: ...

    def die(self) -> None:
        self._leased = False

    def advance(self) -> Call | None:
        if self._leased or not self._due:
            return None
        self._lease += 1
        return self._go_on()

    def record(self, call: Call, outcome: Outcome) -> Call | None:
        if call.token != self._lease:
            return None
        self._leased = False
        step = self._step(call)
        if isinstance(outcome, Done):
            self._change(step, steps.Succeed(outcome.data))
        elif not self._broke_off(step, outcome, call.again):
            return None
        return self._go_on()

    def record_model_result(self, ask: Call, outcome: Outcome, acted: bool) -> None:
        if ask.token != self._lease:
            return
        self._leased = False
        step = self._step(ask)
        if isinstance(outcome, Done):
            self._change(replace(step, proposal=outcome.data), self._answered(step, outcome.data, acted))
        elif not self._broke_off(step, outcome, ask.again):
            return
        self._settle()
        current = self._saga.current
        rests = current is None or current.outcome_unknown or current.status is StepStatus.AWAITING_HUMAN
        self._due = self._saga.status not in TERMINAL and not rests

    def _answered(self, step: Step, answer: dict[str, Any], acted: bool) -> steps.Command:
        spec = self._specs[step.id]
        if not spec.allowed:
            return steps.Fail(Error("POLICY_REASON_DENIED", "no"), acted=acted)
        if not spec.hitl:
            return steps.Succeed(answer)
        if self._saga.cancelled is not None:
            return steps.Fail(Error("CANCELLED", "cancelled"), acted=acted)
        return steps.HoldAnswer(self._hold(spec, answer), acted)

    def _broke_off(self, step: Step, outcome: Outcome, again: bool) -> bool:
        """False: it rests until it is due once more."""
        match outcome:
            case Failed(error, acted):
                self._change(step, steps.Fail(error, acted=acted))
            case TimedOut(error, acted):
                self._change(step, steps.Expire(error, acted))
            case NotSent() if postponement(self._tries(step), 0.5) is not None:
                self._change(step, steps.Postpone(again))
                return False
            case NotSent(error):
                self._change(step, steps.MarkOutcomeUnknown("away") if again else steps.Fail(error))
            case Lost(_, True) if self._tries(step) < CALLS_AGAIN:
                return False
            case Lost(message, _):
                self._change(step, steps.MarkOutcomeUnknown(message))
        return True

    def _step(self, call: Call) -> Step:
        step = self._saga.find(call.span_id)
        assert step is not None
        return step

    def _reasons(self, step: Step) -> bool:
        return step.compensates is None and self._specs[step.id].reasons

    def _tries(self, step: Step) -> int:
        return step.attempt - step.retries if self._reasons(step) else step.attempt

    def _go_on(self) -> Call | None:
        while True:
            self._settle()
            current = self._saga.current
            command = None
            if self._saga.status not in TERMINAL and current is not None and not current.outcome_unknown:
                command = self._command(current)
            if current is None or command is None:
                self._due = False
                return None
            self._change(current, command)
            if isinstance(command, steps.Begin | steps.Repeat):
                self._settle()
                self._leased = True
                step = self._saga.find(current.span_id)
                assert step is not None
                again = current.call.unanswered
                return Call(step.span_id, step.arguments or {}, again, self._lease)

    def _command(self, step: Step) -> steps.Command | None:
        spec = self._specs[step.id]
        arguments = {"n": 1}
        digest = canonical_json.digest(arguments)
        acts = spec.acts or not self._reasons(step)
        if step.status is StepStatus.IN_PROGRESS:
            return self._after_a_break(step, acts)
        if step.compensates is not None:
            return steps.Begin(arguments, digest)
        if step.watch_id is not None:
            return self._decided(step, self._pauses[step.watch_id])
        if not spec.runs:
            return steps.Skip()
        if spec.reasons:
            return steps.Begin(arguments, digest, acts)
        if not spec.allowed:
            return steps.Fail(Error("POLICY_COMMIT_DENIED", "no"))
        if not spec.hitl:
            return steps.Begin(arguments, digest)
        return steps.Hold(self._hold(spec, arguments), arguments, digest)

    def _after_a_break(self, step: Step, acts: bool) -> steps.Command:
        reasons = self._reasons(step)
        if reasons and self._saga.cancelled is not None:
            return steps.Fail(Error("CANCELLED", "cancelled"), acted=acts)
        known = self._specs[step.id].idempotent if step.compensates is None and not reasons else None
        began = reasons or step.call.may_have_acted
        if began and not step.call.requeued and (known is False or self._tries(step) >= CALLS_AGAIN):
            return steps.MarkOutcomeUnknown("the worker ended")
        return steps.Repeat(acts)

    def _hold(self, spec: Spec, subject: dict[str, Any]) -> UUID:
        watch_id = UUID(int=next(self._numbers))
        self._pauses[watch_id] = Pause(
            watch_id,
            "default",
            "act",
            "key_agent",
            T0,
            T0 + timedelta(hours=1),
            STEP,
            arguments=subject,
            arguments_digest=canonical_json.digest(subject),
            on_timeout=spec.on_timeout,
        )
        return watch_id

    def _decided(self, step: Step, pause: Pause) -> steps.Command | None:
        if pause.status is Status.PENDING:
            return None
        if pause.status is Status.APPROVED:
            assert pause.arguments_digest is not None
            if self._reasons(step):
                return steps.Succeed(pause.arguments)
            return steps.Begin(pause.arguments or {}, pause.arguments_digest)
        return steps.Fail(Error("HUMAN_REJECTED", "no"))

    def _settle(self) -> None:
        self._saga = settle(self._saga, self._undoable, lambda: next(self._numbers), T0)

    def _change(self, step: Step, command: steps.Command) -> None:
        self._saga = change_step(self._saga, step, command, T0)

    def _decide(self, watch_id: UUID, command: Command, now: datetime = T0) -> None:
        before = self._pauses[watch_id]
        after, _ = decide(before, command, now)
        self._pauses[watch_id] = after
        if after.status is not before.status:
            self._due = True
        if not is_satisfied_by(after, command):
            raise AlreadyResolved({})

    def approve(self, watch_id: UUID, arguments: dict[str, Any] | None) -> None:
        self._decide(watch_id, Approve(ANNE, arguments=arguments))

    def reject(self, watch_id: UUID) -> None:
        self._decide(watch_id, Reject(ANNE))

    def expire(self, watch_id: UUID) -> None:
        self._decide(watch_id, Timeout(), T0 + SYSTEM_CLOCK)

    def rerun(self, step: Step) -> None:
        if step.status is not StepStatus.AWAITING_HUMAN or step.watch_id is None:
            raise Conflict
        if self._pauses[step.watch_id].status is not Status.PENDING:
            raise Conflict
        self._decide(step.watch_id, Cancel(ANNE))
        self._change(step, steps.Rerun(None))

    def cancel(self) -> None:
        if self._saga.status in TERMINAL or self._saga.status is SagaStatus.COMPENSATING:
            raise Conflict
        current = self._saga.current
        if current is not None and current.status is StepStatus.AWAITING_HUMAN and current.watch_id is not None:
            self._pauses[current.watch_id], _ = decide(self._pauses[current.watch_id], Cancel(ANNE), T0)
        self._saga = replace(self._saga, cancelled=self._saga.cancelled or "cancelled")
        self._due = True

    def resolve(self, step: Step, done: bool) -> None:
        if self._reasons(step):
            raise Conflict
        error = Error("RESOLVED_NOT_DONE", "looked")
        step = replace(step, evidence="looked")
        if step.status in BROKEN:
            self._saga = seen_to(self._saga, step, T0, done=done, output=None)
        else:
            self._change(step, steps.Succeed(None) if done else steps.Fail(error, certain=True))
        self._wake()

    def retry(self, step: Step, force: bool, allow_destructive: bool) -> str:
        undo = step.compensates is not None
        again = undo and step.status in (StepStatus.FAILED, StepStatus.TIMED_OUT)
        if step.status is not StepStatus.IN_PROGRESS and not again:
            raise Conflict
        if self._saga.cancelled is not None and not undo:
            raise Conflict
        if self._leased and not force:
            return "claim_active"
        safe = not undo and (self._specs[step.id].idempotent or False) and not self._reasons(step)
        if step.call.may_have_acted and not allow_destructive and not safe:
            raise Conflict
        self._change(step, steps.Requeue())
        if self._saga.status is SagaStatus.FAILED:
            self._saga = resume_undoing(self._saga, T0)
        self._wake()
        return "scheduled" if again else "requeued"

    def _wake(self) -> None:
        self._settle()
        self._due, self._leased = self._saga.status not in TERMINAL, False
        self._lease += 1


class InMemoryMachine(SagaMachine):
    def open(self, specs: list[Spec]) -> InMemory:
        return InMemory(specs)


TestSagaMachine = InMemoryMachine.TestCase
# A run has up to 50 commands, so 120 runs try some thousand in about 4 s of one core. 500 took four times as long.
TestSagaMachine.settings = settings(max_examples=120, stateful_step_count=50, deadline=None, database=None)
