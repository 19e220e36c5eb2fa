"""Recovery by an operator, when an outcome is unknown or a compensation failed.

- `retry-step` runs a step again that is IN_PROGRESS with an unknown outcome.
- `retry-compensation` runs a compensation again that failed, timed out, or has an unknown outcome.
- `resolve` records the outcome in each of these cases, as the operator found it.
- Both retries let a stuck saga continue.

A retry that may run a call twice needs `allow_destructive`. Taking over from a running worker needs `force`.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from domain.identity.access import Principal
from domain.log import audit
from domain.pauses.serialization import instant
from domain.sagas import step as steps
from domain.sagas.saga import Saga, SagaStatus, change_step, resume_undoing, seen_to, settle
from domain.sagas.serialization import span_text
from domain.sagas.step import Error, Step, StepStatus
from domain.values import canonical_json
from domain.values.errors import Conflict, FieldError, IdempotencyKeyReused, Invalid, WrongState
from models.sagas import sagas
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.leases import SAGA, due_now
from services.kernel.quarantine import forget
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp
from services.manifests.definitions import load_saga
from services.sagas.approvals import use_approvals
from services.sagas.events import notices
from services.sagas.queries import StepRef, step_of_saga, visible_saga
from services.sagas.repository import SagaRecord, Schedule, new_span_id, save

log = logging.getLogger(__name__)

# The status of a request that did nothing, because a worker holds the lease.
CLAIM_ACTIVE = "claim_active"


@dataclass(frozen=True, slots=True)
class Retry:
    """The parameters of a retry.

    Attributes:
        force: take over from the running worker. Its result is discarded; its side effects are not.
        allow_destructive: proceed even if the call may run twice.
        token: the caller's key for this request. A repeated request gets the same response and does nothing.
        arguments: for a failed compensation, in place of those that the manifest's bindings give.
    """

    force: bool = False
    allow_destructive: bool = False
    token: str | None = None
    reason: str | None = None
    arguments: dict[str, Any] | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters that distinguish requests. The reason is not one of them."""
        return {
            "force": self.force,
            "allow_destructive": self.allow_destructive,
            "token": self.token,
            "arguments": None if self.arguments is None else audit.digest(self.arguments),
        }


_Act = Callable[[UnitOfWork, Principal, SagaRecord, Step, Retry], str]


class MayRunTwice(Conflict):
    """The first call may have been carried out, and the tool is not declared idempotent."""

    code = "MAY_RUN_TWICE"


class RecoveryTokenReused(Conflict):
    """This recovery_token was used with other parameters: use a new one."""

    code = "RECOVERY_TOKEN_REUSED"


def retry_step(database: Database, by: Principal, which: StepRef, request: Retry) -> dict[str, Any]:
    """Run a stuck step of a RUNNING saga again."""
    return _idempotently(database, by, which, request, "retry-step", _retry_step)


def retry_compensation(database: Database, by: Principal, which: StepRef, request: Retry) -> dict[str, Any]:
    """Run a compensation again that failed, or whose outcome is unknown."""
    return _idempotently(database, by, which, request, "retry-compensation", _retry_compensation)


def resolve(
    database: Database, by: Principal, which: StepRef, *, done: bool, output: Any, evidence: str
) -> dict[str, Any]:
    """Record the outcome of a call whose outcome is unknown, or whether a failed compensation was done by hand.

    `evidence`: how the operator knows.
    """
    with database.transaction() as uow:
        record, step = _locked(uow, by, which)
        _check_open(uow, record, step)
        about = {"done": done, "evidence": evidence, "output_digest": audit.digest(output) if done else None}
        _record(uow, by, record, step, "step.resolved", **about)
        said = f"{by.name}: {evidence}"
        # A compensation that was not carried out has failed: an operator has to decide on it again. Its error has the
        # evidence.
        open_undo = step.outcome_unknown and step.compensates is not None and not done
        settled = replace(step, evidence=None if open_undo else said)
        if step.outcome_unknown:
            command = steps.Succeed(output) if done else steps.Fail(Error("RESOLVED_NOT_DONE", said), certain=True)
            saga = change_step(record.saga, settled, command, uow.now)
        else:
            saga = seen_to(record.saga, settled, uow.now, done=done, output=output)
        use_approvals(database, uow, record.saga, saga)
        _go_on(uow, record, saga)
    log.warning("an operator recorded an outcome", extra={"by": by.id, "saga": which.trace_id.hex, "done": done})
    return {"status": "resolved", "idempotency_key": f"resolve-{which.span}"}


def _check_open(uow: UnitOfWork, record: SagaRecord, step: Step) -> None:
    """Raise `WrongState` if the step has no outcome to record."""
    if _reasons(uow, record, step):
        what = f"{step.id!r} is a reason step, whose output cannot be known: use retry-step, or cancel the saga"
        raise WrongState("STEP", step.status, what)
    if step.status is StepStatus.IN_PROGRESS and not step.outcome_unknown:
        detail = f"the step {step.id!r} is still running: wait for its result, or take it over with retry-step"
        raise WrongState("STEP", step.status, detail)
    if not step.outcome_unknown and not step.undo_failed:
        raise WrongState("STEP", step.status, f"the step {step.id!r} is {step.status}: there is no outcome to record")


def _retry_step(uow: UnitOfWork, _: Principal, record: SagaRecord, step: Step, request: Retry) -> str:
    saga = record.saga
    if saga.stuck is not None:
        return _go_on_again(uow, record)
    if step.compensates is not None:
        raise WrongState("STEP", step.status, "this is an undo: use retry-compensation")
    if saga.status is not SagaStatus.RUNNING:
        raise WrongState("SAGA", saga.status, f"the saga is {saga.status}: only a RUNNING saga's step is retried")
    if saga.cancelled is not None:
        raise WrongState(
            "SAGA", "CANCELLED", "the saga was cancelled: it waits for the step under way, then compensates"
        )
    if step.status is not StepStatus.IN_PROGRESS:
        raise WrongState("STEP", step.status, f"the step {step.id!r} is {step.status}: only a stuck step is retried")
    return _requeue(uow, record, step, request)


def _retry_compensation(uow: UnitOfWork, by: Principal, record: SagaRecord, step: Step, request: Retry) -> str:
    saga = record.saga
    if saga.stuck is not None:
        return _go_on_again(uow, record)
    if step.compensates is None:
        raise WrongState("STEP", step.status, "this is no undo: give the span of the row that has compensates_span_id")
    if saga.status not in (SagaStatus.COMPENSATING, SagaStatus.FAILED):
        raise WrongState("SAGA", saga.status, f"the saga is {saga.status}: nothing is being undone")
    if step.status is StepStatus.IN_PROGRESS:
        if request.arguments is not None:
            what = "the undo may have been carried out with its present arguments: use resolve first, then correct them"
            raise WrongState("STEP", step.status, what)
        return _requeue(uow, record, step, request)
    if not step.undo_failed:
        raise WrongState("STEP", step.status, f"the undo of {step.id!r} is {step.status}: only a failed one is retried")
    _refuse_a_second_time(uow, record, step, request)
    if request.arguments is not None:
        step = _corrected(uow, by, step, request, request.arguments)
    saga = change_step(saga, step, steps.Requeue(), uow.now)
    if saga.status is SagaStatus.FAILED:
        saga = resume_undoing(saga, uow.now)
    _go_on(uow, record, saga)
    return "scheduled"


def _corrected(uow: UnitOfWork, by: Principal, step: Step, request: Retry, arguments: dict[str, Any]) -> Step:
    if canonical_json.size(arguments) > canonical_json.MAX_BYTES:
        raise Invalid([FieldError("arguments", f"is larger than {canonical_json.MAX_BYTES // 1024} KiB")])
    correction = {"by": by.name, "at": instant(uow.now), "reason": request.reason, "before": step.arguments}
    digest = canonical_json.digest(arguments)
    return replace(step, arguments=arguments, arguments_digest=digest, correction=correction)


def _go_on_again(uow: UnitOfWork, record: SagaRecord) -> str:
    """Let a worker continue a stuck saga. It repeats no call that has begun."""
    forget(uow, SAGA, record.saga.trace_id)
    _go_on(uow, record, record.saga)
    return "requeued"


def _requeue(uow: UnitOfWork, record: SagaRecord, step: Step, request: Retry) -> str:
    lease = select(sagas.c.id).where(sagas.c.id == record.saga.trace_id, sagas.c.leased_until > uow.now)
    if uow.conn.execute(lease).first() is not None and not request.force:
        return CLAIM_ACTIVE
    _refuse_a_second_time(uow, record, step, request)
    _go_on(uow, record, change_step(record.saga, step, steps.Requeue(), uow.now))
    return "requeued"


def _refuse_a_second_time(uow: UnitOfWork, record: SagaRecord, step: Step, request: Retry) -> None:
    if not step.call.may_have_acted or request.allow_destructive:
        return
    if _reasons(uow, record, step):
        raise MayRunTwice(
            "the model may have called tools with side effects:"
            " check them, then cancel the saga, or use allow_destructive: true"
        )
    if step.compensates is not None or not load_saga(uow.conn, record.definition_id).step(step.id).idempotent:
        raise MayRunTwice(
            "the first call may have been carried out, and the manifest does not declare the tool idempotent."
            " Check what it did, then use resolve, or allow_destructive: true"
        )


def _reasons(uow: UnitOfWork, record: SagaRecord, step: Step) -> bool:
    """Return whether the step is a reason step.

    A compensation may use a model too, but an operator can see what it did and resolve it.
    """
    return step.compensates is None and load_saga(uow.conn, record.definition_id).step(step.id).reasoning is not None


def _idempotently(
    database: Database, by: Principal, which: StepRef, request: Retry, verb: str, act: _Act
) -> dict[str, Any]:
    """Run the request. With a token it runs once, and each repetition gets the same response."""
    said = json.dumps([verb, which.trace_id.hex, which.span, request.fingerprint()], sort_keys=True)
    # The spaces keep it apart from the keys of clients, which have none.
    key = f"recovery {which.span} {request.token}"
    idempotency = None if request.token is None else IdempotentRequest(key, hashlib.sha256(said.encode()).digest())
    try:
        with database.transaction() as uow:
            record, step = _locked(uow, by, which)
            get_response(uow, record.saga.namespace, idempotency)
            answer = {
                "status": act(uow, by, record, step, request),
                "idempotency_key": f"{verb}-{which.span}-{step.attempt}",
            }
            if answer["status"] != CLAIM_ACTIVE:
                # After CLAIM_ACTIVE the same token may be used again until the request is carried out.
                store_response(uow, record.saga.namespace, idempotency, answer, saga_id=record.saga.trace_id)
                about = {name: getattr(request, name) for name in ("force", "allow_destructive", "reason")}
                if request.arguments is not None:
                    about |= {"before": step.arguments, "after": request.arguments}
                _record(uow, by, record, step, "step.retried", outcome=answer["status"], **about)
    except RepeatedRequest as repeated:
        return repeated.answer
    except IdempotencyKeyReused:
        raise RecoveryTokenReused from None
    about = {"verb": verb, "by": by.id, "saga": which.trace_id.hex, **request.fingerprint(), "reason": request.reason}
    log.warning("an operator retried a step", extra=about)
    return answer


def _locked(uow: UnitOfWork, by: Principal, which: StepRef) -> tuple[SagaRecord, Step]:
    record = visible_saga(uow.conn, by, which.trace_id, which.namespace, lock=True)
    return record, step_of_saga(record, which.span)


def _record(uow: UnitOfWork, by: Principal, record: SagaRecord, step: Step, type_: str, **details: Any) -> None:
    compensates = None if step.compensates is None else span_text(step.compensates)
    about = {"step": step.id, "span": span_text(step.span_id), "compensates": compensates}
    uow.record(by, record.saga.namespace, type_, record.saga.trace_id.hex, **about, **details)


def _go_on(uow: UnitOfWork, record: SagaRecord, saga: Saga) -> None:
    """Save the saga and make it due for a worker. A lease on it is superseded."""
    definition = load_saga(uow.conn, record.definition_id)
    settled = settle(saga, definition.undoable, new_span_id, uow.now)
    ended = settled.ended_at is not None
    events = notices(record.saga, settled, definition, uow.now)
    save(uow, record.saga, settled, Schedule() if ended else Schedule(**due_now(uow)), events)
    if not ended:
        uow.wakeups.append(WakeUp(SAGA, saga.trace_id))
