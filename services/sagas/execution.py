"""One saga's turn, inside a transaction that has locked it: apply a result, and go on until the saga has to wait."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Self

from domain.sagas import step as steps
from domain.sagas.outcome import CALLS_AGAIN, Done, Failed, Lost, NotSent, Outcome, TimedOut, postponement
from domain.sagas.reasoning import ModelResult
from domain.sagas.saga import TERMINAL, SagaStatus, change_step, settle
from domain.sagas.step import Error, Step
from services.kernel import leases
from services.kernel.leases import SAGA, Lease
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp
from services.manifests.definitions import load_saga
from services.sagas.approvals import use_approvals
from services.sagas.events import notices
from services.sagas.plan import StepPlan, ToolLookupNeeded
from services.sagas.repository import SagaRecord, Schedule, new_span_id, save, understood
from services.sagas.work import Capacity, Work

# A worker without room leaves a saga for half as long as it has been due, between these two. Others may be free, and
# a saga that has been waiting for long waits behind many.
_ROOM_AGAIN = timedelta(seconds=2)
_ROOM_AT_LAST = timedelta(seconds=10)
# An idempotent call is repeated so long after its answer was lost, as its server may be restarting.
_CALL_AGAIN = timedelta(seconds=1)


class SagaExecution:
    """The work on one saga in one transaction."""

    def __init__(
        self, database: Database, uow: UnitOfWork, lease: Lease, record: SagaRecord, waited: timedelta = timedelta(0)
    ) -> None:
        self.database, self.uow, self.lease, self.record = database, uow, lease, record
        self.saga = replace(record.saga, stuck=None)
        self._queue_ms = round(max(0.0, waited.total_seconds()) * 1000, 1)

    def prepared(self) -> Self:
        """Load the definition. Raise `NotUnderstood` if a newer release wrote the saga or its definition."""
        understood(self.record)
        self.definition = load_saga(self.uow.lookups, self.record.definition_id)
        return self

    def _plan(self, step: Step) -> StepPlan:
        return StepPlan(self.database, self.uow, self.record, self.definition, self.saga, step)

    def step(self, span_id: int) -> Step:
        step = self.saga.find(span_id)
        assert step is not None, "steps are never deleted"
        return step

    def change(self, step: Step, command: steps.Command) -> None:
        self.saga = change_step(self.saga, step, command, self.uow.now)

    def answered(self, step: Step, result: ModelResult) -> None:
        assert isinstance(result.outcome, Done)
        answer = result.outcome.data
        step = replace(step, proposal=answer, facts=dict(result.facts) or None)
        self.change(step, self._plan(step).answered(answer, acted=result.report.acted))

    def broke_off(self, step: Step, outcome: Outcome, again: bool, uniform: float) -> bool:
        """Apply an outcome other than `Done`. False: the saga rests until the work is due again."""
        match outcome:
            case Failed(error, acted):
                self.change(step, steps.Fail(error, acted=acted))
            case TimedOut(error, acted):
                self.change(step, steps.Expire(error, acted))
            case NotSent(error):
                wait = postponement(self._plan(step).tries, uniform)
                if wait is not None:
                    self.change(step, steps.Postpone(again, error))
                    self._park(due_at=self.uow.now + wait)
                    return False
                self.change(step, steps.MarkOutcomeUnknown(error.message) if again else steps.Fail(error))
            case Lost(message, idempotent, answer):
                if idempotent and self._plan(step).tries < CALLS_AGAIN:
                    self.change(step, steps.Postpone(step.call.unanswered, Error("MCP_UNAVAILABLE", message)))
                    self._park(due_at=self.uow.now + _CALL_AGAIN)
                    return False
                self.change(step, steps.MarkOutcomeUnknown(message, answer))
        return True

    def deferred(self, step: Step, error: Error, uniform: float) -> bool:
        """Plan another look-up. False: there is no further try."""
        tries = 1 if step.error is None or step.error.details is None else int(step.error.details["tries"]) + 1
        wait = postponement(tries, uniform)
        if wait is None:
            return False
        self.change(step, steps.Defer(replace(error, details={"tries": tries})))
        self._park(due_at=self.uow.now + wait)
        return True

    def recorded_before(self) -> Work:
        """Return the next work after an earlier commit of the result, whose confirmation was lost.

        The lease is still ours, so no other worker has done that work.
        """
        current = self.saga.current
        assert current is not None, "the lease is given back where no work is next"
        return self._plan(current).work(current, self.lease, again=False, queue_ms=self._queue_ms)

    def go_on(self, room: Capacity, schema: Mapping[str, Any] | None = None) -> Work | None:
        """Advance the saga until it has to wait. Return the next work for this worker.

        `schema`: that of the arguments of the current step's tool, if it was looked up.
        """
        while True:
            self._settle()
            current = self.saga.current
            if current is None or self._rests(current):
                break
            plan = self._plan(current)
            command, schema = plan.next_command(schema), None
            if command is None:
                break
            works = isinstance(command, steps.Begin | steps.Repeat | ToolLookupNeeded)
            if works and not self._fits(plan, room):
                self._leave()
                return None
            if not isinstance(command, ToolLookupNeeded):
                self.change(current, command)
            if isinstance(command, steps.Hold):
                # No person can decide on it before the commit.
                self._settle()
                break
            if works:
                self._keep_lease()
                step, again = self.step(current.span_id), current.call.unanswered
                return plan.work(step, self.lease, again=again, queue_ms=self._queue_ms)
        self._park(due_at=None)
        return None

    def _fits(self, plan: StepPlan, room: Capacity) -> bool:
        namespace = self.saga.namespace
        return room.for_thought(namespace) if plan.reasons else room.for_call(namespace, plan.tool_servers)

    def hand_on(self) -> None:
        """Leave the saga to any free worker."""
        self._settle()
        if self._rests(self.saga.current) or self.saga.status is SagaStatus.AWAITING_HUMAN:
            self._park(due_at=None)
        else:
            self._save(Schedule(**leases.due_now(self.uow)))
            self.uow.wakeups.append(WakeUp(SAGA, self.saga.trace_id))

    def _rests(self, current: Step | None) -> bool:
        return self.saga.status in TERMINAL or current is None or current.outcome_unknown

    def _settle(self) -> None:
        self.saga = settle(self.saga, self.definition.undoable, new_span_id, self.uow.now)

    def _keep_lease(self) -> None:
        # A saga that has begun is RUNNING, also while its first call is under way.
        self._settle()
        self.lease = replace(self.lease, since=self.uow.began)
        # Indexed columns stay as they are, as in a claim.
        self._save(Schedule(self.record.due_at, self.record.hint_at, self.lease.token, self.uow.now + leases.LEASE))

    def _leave(self) -> None:
        """Leave the saga for lack of room. It stays due, so that the overdue time counts on."""
        due_at = self.record.due_at or self.uow.now
        wait = min(max((self.uow.now - due_at) / 2, _ROOM_AGAIN), max(_ROOM_AGAIN, _ROOM_AT_LAST))
        self._save(Schedule(due_at, self.uow.now + wait))

    def _park(self, due_at: datetime | None) -> None:
        self._save(Schedule(due_at, due_at))

    def _save(self, when: Schedule) -> None:
        use_approvals(self.database, self.uow, self.record.saga, self.saga)
        told = notices(self.record.saga, self.saga, self.definition, self.uow.now)
        save(self.uow, self.record.saga, self.saga, when, told)
