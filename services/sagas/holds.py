"""Held steps: the pause for a person's decision, and the effect of the decision on the step."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any
from uuid import UUID

from domain.manifests.definition import SagaDefinition, StepDefinition
from domain.pauses import approval_policy
from domain.pauses.consumption import MAX_OUTCOME_WITHIN, OUTCOME_WITHIN
from domain.pauses.pause import STEP, Pause, Status
from domain.pauses.policy_floor import combined
from domain.sagas.saga import Saga
from domain.sagas.serialization import span_text
from domain.sagas.step import Error, Step, rejection
from domain.values import canonical_json
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.namespaces import read_floor
from services.pauses.repository import approved_pause, find_pause, store_pause
from services.sagas.repository import SagaRecord

# Seconds after a step's timeout for a worker to record its outcome.
OUTCOME_MARGIN = 300
# Characters of an action, as in every pause.
MAX_ACTION = 500
CHANGED = Error("ARGUMENTS_CHANGED", "the arguments are no longer those that were approved; nothing was called")


@dataclass(frozen=True, slots=True)
class Approved:
    """
    Attributes:
        subject: the arguments to call with, or the answer to merge.
        edited: the subject differs from the held one.
    """

    subject: dict[str, Any]
    digest: bytes
    edited: bool


def hold(
    database: Database,
    uow: UnitOfWork,
    record: SagaRecord,
    definition: SagaDefinition,
    saga: Saga,
    step: Step,
    subject: dict[str, Any],
    form: tuple[dict[str, Any] | None, str | None],
) -> UUID:
    """Hold the step and return the id of its pause.

    Args:
        subject: the arguments of the call, or the model's answer.
        form: the schema that edits have to fit; or None, and why edits are not checked.
    """
    declared = definition.step(step.id)
    schema, unchecked = form
    floor = read_floor(uow, saga.namespace)
    own = None if declared.review is None else approval_policy.parse(declared.review)
    seconds = declared.hitl_timeout_seconds
    pause = Pause(
        id=uow.new_id(),
        namespace=saga.namespace,
        action=f"{definition.name}: {declared.name}"[:MAX_ACTION],
        created_by=record.created_by,
        created_at=uow.now,
        expires_at=None if seconds is None else uow.now + floor.lengthened(timedelta(seconds=seconds)),
        kind=STEP,
        context={
            "saga": {"name": definition.name, "version": definition.version},
            "trace_id": saga.trace_id.hex,
            "step_span_id": span_text(step.span_id),
            "step_id": step.id,
            "step_kind": str(declared.kind),
            "worker": f"{declared.worker}@{declared.worker_version}",
            **_about(declared, step),
            **({} if unchecked is None else {"arguments_unchecked": unchecked}),
        },
        arguments=subject,
        arguments_digest=canonical_json.digest(subject),
        revision=step.revision,
        arguments_schema=schema,
        # The policy floor may have been raised since the deployment of the manifest.
        on_timeout=floor.allowed_on_timeout(declared.hitl_on_timeout),
        review=combined(floor.review, own),
        outcome_within=_outcome_within(declared),
    )
    store_pause(database, uow, pause)
    return pause.id


def _outcome_within(declared: StepDefinition) -> int | None:
    """Return a time that the step's own timeout fits into; None if the default does."""
    seconds = ceil(declared.timeout_seconds) + OUTCOME_MARGIN
    return None if seconds <= OUTCOME_WITHIN else min(seconds, MAX_OUTCOME_WITHIN)


def decision(uow: UnitOfWork, step: Step, held: bytes | None) -> Approved | Error | None:
    """Return the decision; None: there is none yet. `held`: the digest of the subject that the step records as held."""
    assert step.watch_id is not None, "the table says so"
    pause = approved_pause(uow, step.watch_id) or find_pause(uow, step.watch_id)
    if pause.decision is None:
        return None
    if pause.status is not Status.APPROVED:
        return _not_approved(pause)
    subject = pause.arguments or {}
    digest = canonical_json.digest(subject)
    if digest != pause.arguments_digest:
        return CHANGED
    return Approved(subject, digest, edited=digest != held)


def _about(declared: StepDefinition, step: Step) -> dict[str, Any]:
    """Return the facts about the subject's origin, for the reviewer."""
    if declared.reasoning is None:
        return {"tool": declared.tool}
    report = step.report or {}
    facts = {"facts": step.facts} if step.facts else {}
    return {"asked_with": step.arguments, **facts, **{name: report.get(name) for name in ("provider", "model", "mock")}}


def _not_approved(pause: Pause) -> Error:
    assert pause.decision is not None
    by, comment = pause.decision.by.name, pause.decision.comment
    given = pause.decision.response
    match pause.status:
        case Status.EXPIRED:
            return Error("HITL_EXPIRED", "no decision was made before the deadline")
        case Status.CANCELLED:
            return Error("CANCELLED", comment or f"taken back by {by}")
    return rejection(given, comment, by)
