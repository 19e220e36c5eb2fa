"""A worker's side of sagas: claim one that is due, do what needs no waiting, and say which tool to call next.

One transaction claims and plans, up to a call, a hold or the end; the call is made with none open; the next records
what came of it, guarded by the lease, and plans on. A result that comes after the lease was lost is dropped.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from domain import step as steps
from domain.outcome import CALLS_AGAIN, Done, Failed, Lost, NotSent, Outcome, TimedOut, postponement
from domain.saga import TERMINAL, change_step, settle
from domain.step import Step, StepStatus
from models.sagas import sagas
from services import due
from services.due import SAGA
from services.saga_notices import notices
from services.saga_plan import Call, Plan
from services.saga_rows import Stored, When, lock_leased, new_span_id, save, with_steps
from services.transaction import Store, Tx

log = logging.getLogger(__name__)


def advance(store: Store, trace_id: UUID) -> Call | None:
    """Claim the saga and go on with it as far as needs no waiting. None: nothing is left for this worker to do."""
    with store.transaction() as tx:
        claimed = due.claim_row(tx, SAGA, trace_id)
        if claimed is None:
            return None
        lease, row = claimed
        (stored,) = with_steps(tx.conn, [row])
        return _Turn(store, tx, lease, stored).go_on()


def record(store: Store, call: Call, outcome: Outcome, uniform: float) -> Call | None:
    """What came of the call, and the next one. None also when another worker has taken over: then this is dropped.

    `uniform`: a random number from 0 to 1, for the jitter of a postponement.
    """
    with store.transaction() as tx:
        stored = lock_leased(tx, call.lease.id, call.lease.token)
        if stored is None:
            log.warning("dropped the result of a superseded call", extra={"idempotency_key": call.idempotency_key})
            return None
        return _Turn(store, tx, call.lease, stored).record(call, outcome, uniform)


def sweep_sagas(store: Store) -> int:
    """Hint again at sagas that were missed, and at those whose worker died; returns how many."""
    with store.transaction() as tx:
        missed = select(sagas.c.id).where(due.overlooked(tx, sagas)).order_by(sagas.c.hint_at).limit(due.SWEEP_LIMIT)
        return len(due.hint_again(tx, SAGA, tx.conn.execute(missed).scalars().all()))


class _Turn:
    """One transaction's work on one saga."""

    def __init__(self, store: Store, tx: Tx, lease: due.Lease, stored: Stored) -> None:
        self.tx, self.lease, self.stored = tx, lease, stored
        self.saga = stored.saga
        self.plan = Plan(store, tx, stored)

    def record(self, call: Call, outcome: Outcome, uniform: float) -> Call | None:
        step = self.saga.find(call.span_id)
        assert step is not None, "steps are never deleted"
        if step.status is not StepStatus.IN_PROGRESS:
            return self._recorded_before()
        match outcome:
            case Done(data):
                self._change(step, steps.Succeed(data))
            case Failed(error, acted):
                self._change(step, steps.Fail(error, acted=acted))
            case TimedOut(error):
                self._change(step, steps.Expire(error))
            case NotSent(error):
                wait = postponement(step.attempt, uniform)
                if wait is not None:
                    self._change(step, steps.Postpone(call.again))
                    self._park(due_at=self.tx.now + wait)
                    return None
                self._change(step, steps.LoseTrack(error.message) if call.again else steps.Fail(error))
            case Lost(message, idempotent):
                if idempotent and step.attempt < CALLS_AGAIN:
                    self._park(due_at=self.tx.now + timedelta(seconds=1))
                    return None
                self._change(step, steps.LoseTrack(message))
        return self.go_on()

    def _recorded_before(self) -> Call:
        """By a commit whose answer was lost. The lease has been ours since: nobody has made the call that it was left
        for."""
        current = self.saga.current
        assert current is not None, "the lease is given back where no call is next"
        return self.plan.call(self.saga, current, self.lease, again=False)

    def go_on(self) -> Call | None:
        """As far as needs no waiting."""
        while True:
            self._settle()
            current = self.saga.current
            if self.saga.status in TERMINAL or current is None or current.outcome_unknown:
                self._park(due_at=None)
                return None
            command = self.plan.next_command(self.saga, current)
            if command is None:
                self._park(due_at=None)
                return None
            self._change(current, command)
            if isinstance(command, steps.Hold):
                # Nobody can have decided on it before the commit.
                self._settle()
                self._park(due_at=None)
                return None
            if isinstance(command, steps.Begin | steps.Repeat):
                return self._leave_for_a_call(current, again=current.call_began and not current.may_repeat)

    def _change(self, step: Step, command: steps.Command) -> None:
        self.saga = change_step(self.saga, step, command, self.tx.now)

    def _settle(self) -> None:
        self.saga = settle(self.saga, self.plan.definition.undoable, new_span_id, self.tx.now)

    def _leave_for_a_call(self, before: Step, *, again: bool) -> Call:
        # A saga that has begun is RUNNING, also while its first call is under way.
        self._settle()
        step = self.saga.find(before.span_id)
        assert step is not None
        until = self.tx.now + due.LEASE
        self._save(When(self.tx.now, until, self.lease.token, until))
        return self.plan.call(self.saga, step, self.lease, again=again)

    def _park(self, due_at: datetime | None) -> None:
        self._save(When(due_at, due_at))

    def _save(self, when: When) -> None:
        told = notices(self.stored.saga, self.saga, self.plan.definition, self.tx.now)
        save(self.tx, self.stored.saga, self.saga, when, told)
