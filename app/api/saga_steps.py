"""/v1/sagas/…/steps: look at steps, decide on held ones (reviewers), recover stuck ones (operators)."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Response, g
from flask_smorest import Blueprint

from app.api.paging import list_document, page
from app.api.sagas import trace
from app.deps import deps
from app.operation import accepted, answer, operation
from app.schemas.sagas import (
    DONE,
    ApproveStepSchema,
    DecisionOnStepSchema,
    QueuedSchema,
    RecoveryAnswerSchema,
    RecoveryWishSchema,
    RejectStepSchema,
    RerunSchema,
    ResolvedSchema,
    ResolveSchema,
    ReviewListQuery,
    ReviewPageSchema,
    StepListQuery,
    StepPageSchema,
    StepQuery,
    StepWithContentSchema,
)
from domain.access import Permission
from domain.pause import Approve, Reject
from services import recovery, saga_reads, saga_reviews
from services.pauses import actor
from services.recovery import Retry
from services.saga_decisions import StepRef, decide_step, rerun_step
from services.saga_reviews import ReviewFilter

steps = Blueprint("steps", __name__, url_prefix="/v1/sagas", description="Steps of sagas: held ones, stuck ones")
READ, DECIDE, RECOVER = Permission.SAGA_READ, Permission.STEP_DECIDE, Permission.SAGA_RECOVER
_STEP = "/<trace_id>/steps/<step_span_id>"
_GONE = (404, 409)


@operation(steps, "GET", "/steps", permission=READ, query=StepListQuery, answers={200: StepPageSchema}, refuses=(404,))
def list_steps(query: dict[str, Any]) -> Response:
    """List a saga's steps in their order, then the undos"""
    wanted = page(query)
    found = saga_reads.list_steps(deps().store, g.principal, UUID(hex=query["trace_id"]), wanted)
    return answer(list_document(found, lambda step: step))


@operation(steps, "GET", "/pending-review", permission=READ, query=ReviewListQuery, answers={200: ReviewPageSchema})
def list_pending_reviews(query: dict[str, Any]) -> Response:
    """List the steps that wait for a person, the longest waiting first"""
    wanted = page(query)
    trace_id = query.pop("trace_id", None)
    filters = ReviewFilter(None if trace_id is None else UUID(hex=trace_id), **query)
    found = saga_reviews.pending_reviews(deps().store, g.principal, filters, wanted)
    return answer(list_document(found, lambda review: review))


@operation(steps, "GET", _STEP, permission=READ, query=StepQuery, answers={200: StepWithContentSchema}, refuses=(404,))
def get_step(query: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Read a step with its arguments and output"""
    namespace = query.get("namespace")
    return answer(saga_reads.get_step(deps().store, g.principal, trace(trace_id), step_span_id, namespace))


@operation(
    steps,
    "POST",
    f"{_STEP}/decision",
    permission=DECIDE,
    query=StepQuery,
    body=DecisionOnStepSchema,
    example={"decision": "APPROVE", "output": {}},
    answers={202: QueuedSchema},
    refuses=_GONE,
)
def decide(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve or reject a held step; a worker carries it out"""
    command = _approval(body) if body["decision"] == "APPROVE" else _rejection(body)
    return _decided(query, trace_id, step_span_id, command)


@operation(
    steps,
    "POST",
    f"{_STEP}/approve",
    permission=DECIDE,
    query=StepQuery,
    body=ApproveStepSchema,
    answers={202: QueuedSchema},
    refuses=_GONE,
)
def approve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve a held step"""
    return _decided(query, trace_id, step_span_id, _approval(body))


@operation(
    steps,
    "POST",
    f"{_STEP}/reject",
    permission=DECIDE,
    query=StepQuery,
    body=RejectStepSchema,
    answers={202: QueuedSchema},
    refuses=_GONE,
)
def reject_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Reject a held step; what was done before it is undone"""
    return _decided(query, trace_id, step_span_id, _rejection(body))


@operation(
    steps,
    "POST",
    f"{_STEP}/retry",
    permission=DECIDE,
    query=StepQuery,
    body=RerunSchema,
    example={"guidance": "Clarify the summary before proceeding."},
    answers={202: QueuedSchema},
    refuses=_GONE,
)
def retry_held_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Have a held step run and held again"""
    which = _which(query, trace_id, step_span_id)
    guidance, token = body.get("guidance"), body.get("retry_token")
    return accepted(rerun_step(deps().store, g.principal, which, guidance, token).document())


@operation(
    steps,
    "POST",
    f"{_STEP}/retry-step",
    permission=RECOVER,
    query=StepQuery,
    body=RecoveryWishSchema,
    answers={202: RecoveryAnswerSchema},
    refuses=_GONE,
)
def retry_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Repeat a stuck step of a RUNNING saga"""
    return _recovered(recovery.retry_step, query, body, trace_id, step_span_id)


@operation(
    steps,
    "POST",
    f"{_STEP}/retry-compensation",
    permission=RECOVER,
    query=StepQuery,
    body=RecoveryWishSchema,
    answers={202: RecoveryAnswerSchema},
    refuses=_GONE,
)
def retry_compensation(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Try an undo again that failed or is stuck"""
    return _recovered(recovery.retry_compensation, query, body, trace_id, step_span_id)


@operation(
    steps,
    "POST",
    f"{_STEP}/resolve",
    permission=RECOVER,
    query=StepQuery,
    body=ResolveSchema,
    example={"outcome": "done", "output": {"refund": "R-7"}, "evidence": "R-7 stands in the ledger"},
    answers={202: ResolvedSchema},
    refuses=_GONE,
)
def resolve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Say what came of a call whose outcome is unknown"""
    which = _which(query, trace_id, step_span_id)
    said = {"done": body["outcome"] == DONE, "output": body.get("output"), "evidence": body["evidence"]}
    return accepted(recovery.resolve(deps().store, g.principal, which, **said))


def _approval(body: dict[str, Any]) -> Approve:
    # An empty output is what clients send who want to change nothing.
    return Approve(actor(g.principal), comment=body.get("comment"), arguments=body.get("output") or None)


def _rejection(body: dict[str, Any]) -> Reject:
    return Reject(actor(g.principal), comment=body.get("comment"), response=body.get("error_details") or None)


def _decided(query: dict[str, Any], trace_id: str, span: str, command: Approve | Reject) -> Response:
    which = _which(query, trace_id, span)
    return accepted(decide_step(deps().store, g.principal, which, command).document())


def _recovered(
    act: Callable[..., dict[str, Any]], query: dict[str, Any], body: dict[str, Any], trace_id: str, span: str
) -> Response:
    token = body.pop("recovery_token", None)
    return accepted(act(deps().store, g.principal, _which(query, trace_id, span), Retry(token=token, **body)))


def _which(query: dict[str, Any], trace_id: str, span: str) -> StepRef:
    return StepRef(trace(trace_id), span, query.get("namespace"))
