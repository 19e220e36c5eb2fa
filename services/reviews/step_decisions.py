"""Decisions on held steps: approve, reject, or run again. They are accepted at once, and a worker applies them."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from domain.identity.access import Permission, Principal
from domain.manifests.definition import StepDefinition, StepKind
from domain.pauses.pause import Approve, Cancel, Pause, Reject, Status, eligible_voters, is_satisfied_by
from domain.pauses.serialization import pause_document
from domain.pauses.votes import is_eligible
from domain.sagas import step as steps
from domain.sagas.saga import change_step
from domain.sagas.serialization import span_text
from domain.sagas.step import Step, StepStatus
from domain.values import json_schema
from domain.values.errors import (
    AlreadyResolved,
    Conflict,
    FieldError,
    Invalid,
    NotEligible,
    RevisionChanged,
    WrongState,
)
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.leases import due_now
from services.kernel.unit_of_work import Database, UnitOfWork
from services.manifests.definitions import load_saga
from services.pauses.changes import PauseChange
from services.pauses.lifecycle import actor, lock_pause
from services.pauses.voters import members_of
from services.reviews.decisions import check_satisfied, decide_in
from services.sagas.queries import StepRef, step_of_saga, visible_saga, visible_step
from services.sagas.repository import SagaRecord, Schedule, lock, save


@dataclass(frozen=True, slots=True)
class Accepted:
    """A decision was accepted. `repeated`: it had been accepted before."""

    repeated: bool
    key: str

    def document(self) -> dict[str, Any]:
        return {"status": "already_queued" if self.repeated else "queued", "idempotency_key": self.key}


class RetriesUsedUp(Conflict):
    """The step has been run again as often as its manifest allows (hitl_max_retries): approve or reject it."""

    code = "RETRIES_USED_UP"


def decide_step(database: Database, by: Principal, which: StepRef, command: Approve | Reject) -> Accepted:
    """Decide on the pause that holds a step. Raise `AlreadyResolved` after a different decision."""
    with database.transaction() as uow:
        change, command = decide_step_in(database, uow, by, which, command)
    check_satisfied(change, command)
    return accepted(change)


def decide_step_in(
    database: Database, uow: UnitOfWork, by: Principal, which: StepRef, command: Approve | Reject
) -> tuple[PauseChange, Approve | Reject]:
    """Return the step's pause after the command, and the command with the arguments of the pause."""
    row = visible_step(uow.conn, by, which.trace_id, which.span, which.namespace)
    if row["watch_id"] is None:
        raise _not_held(row["step_id"], row["status"])
    if isinstance(command, Approve) and command.arguments is not None:
        declared = load_saga(uow.conn, row["definition_id"]).step(row["step_id"])
        _check_override(declared.kind)
        command = replace(command, arguments=_output(declared, command.arguments))
    try:
        return decide_in(database, uow, by, row["watch_id"], command), command
    except Invalid as invalid:
        raise Invalid([_of_output(field_error) for field_error in invalid.field_errors]) from None


def accepted(change: PauseChange) -> Accepted:
    return Accepted(not change.changed, f"decide-{change.pause.id.hex}")


def _check_override(kind: StepKind) -> None:
    if kind is StepKind.COMMIT:
        raise Invalid(
            [FieldError("output", "a commit step has no output yet: approve or reject its arguments, or retry it")]
        )


def _output(declared: StepDefinition, given: dict[str, Any]) -> dict[str, Any]:
    """Return the output to merge. Some clients send it below `data`, as it appears in the context."""
    inner = given.get("data")
    if declared.reasoning is None or given.keys() != {"data"} or not isinstance(inner, dict):
        return given
    schema = dict(declared.reasoning.output_schema)
    return given if "data" in json_schema.names(schema) else inner


def _of_output(field_error: FieldError) -> FieldError:
    """Rename the path of an error: the arguments of the pause are the output of the step."""
    place = field_error.path.removeprefix("arguments")
    return FieldError(f"output{place}", field_error.message) if place != field_error.path else field_error


def rerun_step(
    database: Database,
    by: Principal,
    which: StepRef,
    guidance: str | None,
    token: str | None,
    revision: int | None = None,
) -> Accepted:
    """Run a held step again: resolve its arguments, apply its policy, and ask the model of a reason step again.

    `revision`: the one that the reviewer has read. It may be None, because a rerun approves nothing. Raise
    `RevisionChanged`.
    """
    try:
        return _rerun_idempotently(database, by, which, steps.Rerun(guidance, token), revision)
    except RepeatedRequest as repeated:
        return Accepted(True, repeated.answer["idempotency_key"])


def _rerun_idempotently(
    database: Database, by: Principal, which: StepRef, request: steps.Rerun, revision: int | None
) -> Accepted:
    """Rerun a step. Raise `RepeatedRequest` if the request with this token was carried out before."""
    guidance, token = request.guidance, request.token
    with database.transaction() as uow:
        record, idempotency = visible_saga(uow.conn, by, which.trace_id, which.namespace), _idempotency(which, token)
        step = step_of_saga(record, which.span)
        if _has_token(step, token):
            return Accepted(True, _rerun_key(step, step.retries))
        get_response(uow, record.saga.namespace, idempotency)
        if step.watch_id is None or step.status is not StepStatus.AWAITING_HUMAN:
            raise _not_held(step.id, step.status)
        # A pause is always locked before its saga.
        command = Cancel(actor(by), f"to be run again: {guidance}" if guidance else "to be run again")
        _check_eligible(database, uow, by, lock_pause(uow, by, step.watch_id), revision)
        change = decide_in(database, uow, by, step.watch_id, command)
        pause = change.pause
        if pause.status is Status.APPROVED:
            # The engine locks an approved pause after its saga.
            raise AlreadyResolved(change.document)
        locked = lock(uow, which.trace_id)
        assert locked is not None, "it was just read, and sagas with a held step are not deleted"
        step = step_of_saga(locked, which.span)
        if not change.changed and _has_token(step, token):
            # Another request did it while this one waited for the lock.
            return Accepted(True, _rerun_key(step, step.retries))
        won = change.changed and is_satisfied_by(pause, command)
        if won:
            _rerun(uow, locked, step, replace(request, revision=pause.revision))
            answer = Accepted(False, _rerun_key(step, step.retries + 1)).document()
            store_response(uow, pause.namespace, idempotency, answer, saga_id=which.trace_id)
            about = {"step": step.id, "span": which.span, "guidance": guidance}
            uow.record(by, pause.namespace, "step.rerun", which.trace_id.hex, **about)
    # Raise only after the commit: this request may have been the first to notice an expiry, which must be stored.
    if not won:
        raise AlreadyResolved(change.document)
    return Accepted(False, _rerun_key(step, step.retries + 1))


def _check_eligible(database: Database, uow: UnitOfWork, by: Principal, pause: Pause, revision: int | None) -> None:
    """Raise `NotEligible` if the caller may not vote now, or `RevisionChanged`.

    A rerun discards the votes so far, and its guidance reaches the model. An operator may rerun any step, because its
    eligible voters may all be absent.
    """
    if revision not in (None, pause.revision) and pause.status is Status.PENDING:
        raise RevisionChanged(pause_document(pause, database.public_url))
    if pause.review.plain or pause.status is not Status.PENDING or by.may(Permission.SAGA_RECOVER):
        return
    voters = eligible_voters(pause, members_of(uow, pause.namespace))
    if not is_eligible(voters, pause.stage, by.id):
        raise NotEligible


def _idempotency(which: StepRef, token: str | None) -> IdempotentRequest | None:
    """Return the idempotency key of a rerun. The step itself stores only the last token."""
    # The spaces keep it apart from the keys of clients, which have none.
    key = f"rerun {which.span} {token}"
    return None if token is None else IdempotentRequest(key, hashlib.sha256(key.encode()).digest())


def _has_token(step: Step, token: str | None) -> bool:
    return token is not None and token == step.retry_token


def _rerun(uow: UnitOfWork, record: SagaRecord, step: Step, wanted: steps.Rerun) -> None:
    declared = load_saga(uow.conn, record.definition_id).step(step.id)
    if declared.hitl_max_retries is not None and step.retries >= declared.hitl_max_retries:
        raise RetriesUsedUp
    rerun = replace(wanted, guidance=wanted.guidance or declared.hitl_retry_guidance)
    # A saga that is stuck waits for an operator first.
    when = Schedule() if record.saga.stuck is not None else Schedule(**due_now(uow))
    save(uow, record.saga, change_step(record.saga, step, rerun, uow.now), when)


def _rerun_key(step: Step, number: int) -> str:
    return f"retry-{span_text(step.span_id)}-{number}"


def _not_held(id_: str, status: str) -> WrongState:
    return WrongState("STEP", status, f"the step {id_!r} is {status}: it is not held for review")
