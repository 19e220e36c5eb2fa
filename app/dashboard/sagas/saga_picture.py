"""A saga as a picture: one row per step, with its state, its policy verdict and its undo."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.manifests.definition import SagaDefinition, StepDefinition, StepKind
from domain.pauses.serialization import instant_or_none
from domain.sagas.compensation import undone_if_rejected
from domain.sagas.saga import Saga
from domain.sagas.serialization import idempotency_key, span_text
from domain.sagas.step import Step, StepStatus
from domain.values import ids

_S = StepStatus
# The colour of each state.
TONES: Mapping[StepStatus, str] = {
    _S.PENDING: "quiet",
    _S.IN_PROGRESS: "busy",
    _S.AWAITING_HUMAN: "warn",
    _S.COMPLETED: "good",
    _S.FAILED: "bad",
    _S.TIMED_OUT: "bad",
    _S.SKIPPED: "quiet",
    _S.COMPENSATING: "busy",
    _S.COMPENSATED: "quiet",
}


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A step in the picture.

    Attributes:
        held: the step waits for a person.
        here: the picture belongs to the step's review.
        tools: the tools that the step may call; a commit step calls one.
        verdict: the verdict of the step's policy; None without a policy or before its evaluation.
        undo_by: the tools of the step's undo; None without an undo.
        undone_as: the step's place, from 1, among the steps undone after a rejection; None if it is not undone.
        undo: the undo's own row, once it exists.
        retries_left: the further runs that a reviewer may request; None without a limit.
        conditional: the step has a `when` condition.
        idempotency_key: the key of the step's call, or the prefix of a model's keys; None before the first call.
        report: the report of a model's run; empty without one.
    """

    span: str
    id: str
    name: str
    kind: str
    status: StepStatus
    tone: str
    started_at: str | None
    ended_at: str | None
    attempt: int
    held: bool
    here: bool
    hitl: bool
    worker: str
    tools: tuple[str, ...]
    policy: str | None
    verdict: str | None
    undo_by: tuple[str, ...] | None
    undone_as: int | None
    undo: "PictureRow | None"
    arguments: Any
    output: Any
    facts: Mapping[str, Any]
    error: Mapping[str, Any] | None
    report: Mapping[str, Any]
    retries: int
    retries_left: int | None
    conditional: bool
    watch_id: str | None
    guidance: str | None
    evidence: str | None
    correction: Mapping[str, Any] | None
    undo_failed: bool
    outcome_unknown: bool
    idempotency_key: str | None


def picture(saga: Saga, definition: SagaDefinition, review_id: UUID | None = None) -> tuple[PictureRow, ...]:
    """Return a row per step in the order of execution, each with its undo.

    Args:
        review_id: the review that shows the picture; its step is marked `here`.
    """
    held = next((step for step in saga.steps if step.status is _S.AWAITING_HUMAN), None)
    undone = () if held is None else undone_if_rejected(saga.steps, held, definition.undoable)
    places = {step.span_id: place for place, step in enumerate(undone, 1)}
    undos = {undo.compensates: _row(saga, undo, definition.step(undo.id), review_id, None, None) for undo in saga.undos}
    return tuple(
        _row(saga, step, definition.step(step.id), review_id, places.get(step.span_id), undos.get(step.span_id))
        for step in saga.steps
    )


def _row(
    saga: Saga,
    step: Step,
    declared: StepDefinition,
    review_id: UUID | None,
    undone_as: int | None,
    undo: PictureRow | None,
) -> PictureRow:
    is_undo = step.compensates is not None
    return PictureRow(
        span=span_text(step.span_id),
        id=step.id,
        name=declared.name,
        kind=str(declared.kind),
        status=step.status,
        tone="bad" if step.outcome_unknown else TONES[step.status],
        started_at=instant_or_none(step.started_at),
        ended_at=instant_or_none(step.ended_at),
        attempt=step.attempt,
        held=step.status is _S.AWAITING_HUMAN,
        here=review_id is not None and step.watch_id == review_id,
        hitl=declared.hitl and not is_undo,
        worker=_worker(declared, is_undo),
        tools=(declared.undo.tools if declared.undo else ()) if is_undo else tools_of(declared),
        policy=None if is_undo or declared.policy is None else declared.policy.name,
        verdict=None if is_undo else verdict(step, declared),
        undo_by=None if is_undo or declared.undo is None else declared.undo.tools,
        undone_as=undone_as,
        undo=undo,
        arguments=step.arguments,
        output=step.proposal if step.output is None else step.output,
        facts=step.facts or {},
        error=None if step.error is None else step.error.document(),
        report=step.report or {},
        retries=step.retries,
        retries_left=None if declared.hitl_max_retries is None else max(0, declared.hitl_max_retries - step.retries),
        conditional=declared.when is not None,
        watch_id=None if step.watch_id is None else ids.text(ids.WATCH, step.watch_id),
        guidance=step.guidance,
        evidence=step.evidence,
        correction=step.correction,
        undo_failed=step.undo_failed,
        outcome_unknown=step.outcome_unknown,
        idempotency_key=idempotency_key(saga, step) if step.attempt else None,
    )


def tools_of(declared: StepDefinition) -> tuple[str, ...]:
    if declared.reasoning is not None:
        return declared.reasoning.tools
    return () if declared.tool is None else (declared.tool,)


def _worker(declared: StepDefinition, is_undo: bool) -> str:
    if is_undo and declared.undo is not None:
        return f"{declared.undo.worker}@{declared.undo.worker_version}"
    return f"{declared.worker}@{declared.worker_version}"


def verdict(step: Step, declared: StepDefinition) -> str | None:
    """Return the verdict of the step's policy.

    The policy is evaluated before a review and before a call; for a reason step, after the model's result.
    """
    if declared.policy is None or step.status in (_S.PENDING, _S.SKIPPED):
        return None
    code = "" if step.error is None else step.error.code
    if code.startswith("POLICY_"):
        return "no answer" if code == "POLICY_EVALUATION_FAILED" else "denied"
    reasons = declared.kind is StepKind.REASON
    evaluated = step.status in (_S.AWAITING_HUMAN, _S.COMPLETED, _S.COMPENSATING, _S.COMPENSATED)
    # A step with a review passed its policy; a step that runs again has no review until it is held again.
    evaluated = evaluated or step.watch_id is not None
    return "allowed" if evaluated or (not reasons and step.attempt > 0) else None
