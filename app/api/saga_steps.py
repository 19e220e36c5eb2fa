"""/v1/sagas/…/steps: read steps, decide held steps (reviewers) and recover steps (operators)."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from flask import Response, g
from marshmallow import Schema

from app.api.paging import list_document, page
from app.api.sagas import trace
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import accepted, json_response
from app.openapi.operation import View, operation
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
    UndoRecoveryWishSchema,
)
from domain.identity.access import Permission
from domain.pauses.pause import Approve, Reject
from services.pauses.lifecycle import actor
from services.reviews import held_steps, step_decisions
from services.reviews.held_steps import ReviewFilter
from services.reviews.shared_decisions import DecisionCall
from services.sagas import queries as saga_queries
from services.sagas import recovery
from services.sagas.queries import StepRef
from services.sagas.recovery import Retry

steps = Blueprint("steps", __name__, url_prefix="/v1/sagas", description="Steps of sagas: reviews and recovery")
READ, DECIDE, RECOVER = Permission.SAGA_READ, Permission.STEP_DECIDE, Permission.SAGA_RECOVER
_STEP = "/<trace_id>/steps/<step_span_id>"


def _command(
    verb: str,
    permission: Permission,
    body: type[Schema],
    accepted: type[Schema] = QueuedSchema,
    example: Mapping[str, Any] | None = None,
) -> Callable[[View], View]:
    """Register `POST …/{verb}`, a command that a worker carries out."""
    return operation(
        steps,
        "POST",
        f"{_STEP}/{verb}",
        permission=permission,
        query=StepQuery,
        body=body,
        example=example,
        answers={202: accepted},
        refuses=(404, 409),
    )


@operation(steps, "GET", "/steps", permission=READ, query=StepListQuery, answers={200: StepPageSchema}, refuses=(404,))
def list_steps(query: dict[str, Any]) -> Response:
    """List a saga's steps in order, then the undos

    An undo has a `compensates_span_id`.
    """
    wanted = page(query)
    filters = UUID(hex=query["trace_id"]), query.get("namespace"), frozenset(query.get("status", ()))
    found = saga_queries.list_steps(deps().database, g.principal, *filters, wanted)
    return json_response(list_document(found, lambda step: step))


@operation(steps, "GET", "/pending-review", permission=READ, query=ReviewListQuery, answers={200: ReviewPageSchema})
def list_pending_reviews(query: dict[str, Any]) -> Response:
    """List held steps, longest waiting first

    `review_payload` has the exact arguments to execute, or the model's output.
    """
    wanted = page(query)
    trace_id = query.pop("trace_id", None)
    filters = ReviewFilter(None if trace_id is None else UUID(hex=trace_id), **query)
    found = held_steps.pending_reviews(deps().database, g.principal, filters, wanted)
    return json_response(list_document(found, lambda review: review))


@operation(steps, "GET", _STEP, permission=READ, query=StepQuery, answers={200: StepWithContentSchema}, refuses=(404,))
def get_step(query: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Read a step with its arguments and output

    The response also has the step's facts and the report of the model's run.
    """
    namespace = query.get("namespace")
    return json_response(saga_queries.get_step(deps().database, g.principal, trace(trace_id), step_span_id, namespace))


@_command("decision", DECIDE, DecisionOnStepSchema, example={"decision": "APPROVE", "output": {}})
def decide_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve or reject a held step

    `APPROVE` may have an `output`, which replaces the model's; `REJECT` may have `error_details`. A worker then
    continues the saga.
    """
    command = _approval(body) if body["decision"] == "APPROVE" else _rejection(body)
    return _decide(query, trace_id, step_span_id, command)


@_command("approve", DECIDE, ApproveStepSchema)
def approve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve a held step

    With `output`, the saga continues with that instead of the model's output.
    """
    return _decide(query, trace_id, step_span_id, _approval(body))


@_command("reject", DECIDE, RejectStepSchema)
def reject_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Reject a held step

    Sagahold undoes the completed steps before it. `error_details` become the step's error.
    """
    return _decide(query, trace_id, step_span_id, _rejection(body))


@_command("retry", DECIDE, RerunSchema, example={"guidance": "Clarify the summary before proceeding."})
def retry_held_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Request another run of a held step

    A reason step runs its model again with `guidance`; a commit step is only held again. The current review ends.
    Repeated requests with the same `retry_token` count once.
    """
    step = _step(query, trace_id, step_span_id)
    arguments = (body.get(name) for name in ("guidance", "retry_token", "revision"))
    return accepted(step_decisions.rerun_step(deps().database, g.principal, step, *arguments).document())


@_command("retry-step", RECOVER, RecoveryWishSchema, RecoveryAnswerSchema)
def retry_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Retry a step of a running saga

    For a step whose outcome is unknown or that is stuck. `allow_destructive` permits a call that may run twice.
    `force` takes the step over from a running worker.
    """
    return _recover(recovery.retry_step, query, body, trace_id, step_span_id)


@_command("retry-compensation", RECOVER, UndoRecoveryWishSchema, RecoveryAnswerSchema)
def retry_compensation(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Retry an undo that failed or is stuck

    `arguments` replace those of a failed undo. The undo records who corrected them, when and why.
    """
    return _recover(recovery.retry_compensation, query, body, trace_id, step_span_id)


@_command(
    "resolve",
    RECOVER,
    ResolveSchema,
    ResolvedSchema,
    example={"outcome": "done", "output": {"refund": "R-7"}, "evidence": "the ledger has R-7"},
)
def resolve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Record the outcome of a call or of a failed undo

    For a call whose outcome is unknown, `outcome` says whether it was carried out. For a failed undo, `done` means that
    it was undone by hand, and earlier steps are undone next. `not_done` means that it stays: the saga remains `FAILED`
    and no longer needs an operator.
    """
    step = _step(query, trace_id, step_span_id)
    outcome = {"done": body["outcome"] == DONE, "output": body.get("output"), "evidence": body["evidence"]}
    return accepted(recovery.resolve(deps().database, g.principal, step, **outcome))


def _approval(body: dict[str, Any]) -> Approve:
    # Clients send an empty output to change nothing.
    common = {name: body.get(name) for name in ("comment", "revision")}
    return Approve(actor(g.principal), arguments=body.get("output") or None, **common)


def _rejection(body: dict[str, Any]) -> Reject:
    common = {name: body.get(name) for name in ("comment", "revision")}
    return Reject(actor(g.principal), response=body.get("error_details") or None, **common)


def _decide(query: dict[str, Any], trace_id: str, span: str, command: Approve | Reject) -> Response:
    change = deps().decisions.do(DecisionCall(g.principal, _step(query, trace_id, span), command))
    return accepted(step_decisions.accepted(change).document())


def _recover(
    act: Callable[..., dict[str, Any]], query: dict[str, Any], body: dict[str, Any], trace_id: str, span: str
) -> Response:
    token = body.pop("recovery_token", None)
    return accepted(act(deps().database, g.principal, _step(query, trace_id, span), Retry(token=token, **body)))


def _step(query: dict[str, Any], trace_id: str, span: str) -> StepRef:
    return StepRef(trace(trace_id), span, query.get("namespace"))
