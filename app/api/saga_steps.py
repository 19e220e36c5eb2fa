"""/v1/sagas/…/steps: look at steps, decide on held ones (reviewers), recover stuck ones (operators)."""

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
from services.sagas import queries as saga_queries
from services.sagas import recovery
from services.sagas.queries import StepRef
from services.sagas.recovery import Retry

steps = Blueprint("steps", __name__, url_prefix="/v1/sagas", description="Steps of sagas: held ones, stuck ones")
READ, DECIDE, RECOVER = Permission.SAGA_READ, Permission.STEP_DECIDE, Permission.SAGA_RECOVER
_STEP = "/<trace_id>/steps/<step_span_id>"


def _command(
    verb: str,
    permission: Permission,
    body: type[Schema],
    accepted: type[Schema] = QueuedSchema,
    example: Mapping[str, Any] | None = None,
) -> Callable[[View], View]:
    """POST …/{verb}: what a worker is to do with a step."""
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
    """List a saga's steps in their order, then the undos

    The undos have `compensates_span_id`.
    """
    wanted = page(query)
    which = UUID(hex=query["trace_id"]), query.get("namespace"), frozenset(query.get("status", ()))
    found = saga_queries.list_steps(deps().database, g.principal, *which, wanted)
    return json_response(list_document(found, lambda step: step))


@operation(steps, "GET", "/pending-review", permission=READ, query=ReviewListQuery, answers={200: ReviewPageSchema})
def list_pending_reviews(query: dict[str, Any]) -> Response:
    """List the steps that wait for a person, the longest waiting first

    `review_payload` is exactly what will be executed, or what the model has found.
    """
    wanted = page(query)
    trace_id = query.pop("trace_id", None)
    filters = ReviewFilter(None if trace_id is None else UUID(hex=trace_id), **query)
    found = held_steps.pending_reviews(deps().database, g.principal, filters, wanted)
    return json_response(list_document(found, lambda review: review))


@operation(steps, "GET", _STEP, permission=READ, query=StepQuery, answers={200: StepWithContentSchema}, refuses=(404,))
def get_step(query: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Read a step with its arguments and output

    With what only this step has: arguments, output, facts, and how a model came to it.
    """
    namespace = query.get("namespace")
    return json_response(saga_queries.get_step(deps().database, g.principal, trace(trace_id), step_span_id, namespace))


@_command("decision", DECIDE, DecisionOnStepSchema, example={"decision": "APPROVE", "output": {}})
def decide_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve or reject a held step; a worker carries it out

    `APPROVE` may carry an `output` that replaces the model's; `REJECT` may carry `error_details`.
    """
    command = _approval(body) if body["decision"] == "APPROVE" else _rejection(body)
    return _decided(query, trace_id, step_span_id, command)


@_command("approve", DECIDE, ApproveStepSchema)
def approve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Approve a held step

    With `output`, the saga goes on with that instead of what the model has found.
    """
    return _decided(query, trace_id, step_span_id, _approval(body))


@_command("reject", DECIDE, RejectStepSchema)
def reject_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Reject a held step; what was done before it is undone

    `error_details` become the step's own.
    """
    return _decided(query, trace_id, step_span_id, _rejection(body))


@_command("retry", DECIDE, RerunSchema, example={"guidance": "Clarify the summary before proceeding."})
def retry_held_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Have a held step run and held again

    The model is asked again, with `guidance`; a commit step is held again. What was held is void. With a
    `retry_token` it counts once.
    """
    which = _which(query, trace_id, step_span_id)
    said = (body.get(name) for name in ("guidance", "retry_token", "revision"))
    return accepted(step_decisions.rerun_step(deps().database, g.principal, which, *said).document())


@_command("retry-step", RECOVER, RecoveryWishSchema, RecoveryAnswerSchema)
def retry_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Repeat a stuck step of a RUNNING saga

    For a step whose outcome nobody knows. Where a second call may do harm, `allow_destructive` has to say so; a
    worker that is at it is left alone but for `force`.
    """
    return _recovered(recovery.retry_step, query, body, trace_id, step_span_id)


@_command("retry-compensation", RECOVER, UndoRecoveryWishSchema, RecoveryAnswerSchema)
def retry_compensation(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Try an undo again that failed or is stuck

    With `arguments`, one that failed is tried with exactly these. Who corrected them, when and why is kept.
    """
    return _recovered(recovery.retry_compensation, query, body, trace_id, step_span_id)


@_command(
    "resolve",
    RECOVER,
    ResolveSchema,
    ResolvedSchema,
    example={"outcome": "done", "output": {"refund": "R-7"}, "evidence": "the ledger has R-7"},
)
def resolve_step(query: dict[str, Any], body: dict[str, Any], trace_id: str, step_span_id: str) -> Response:
    """Say what came of a call whose outcome is unknown, or of a failed undo

    Of an undo that failed, `done` says that it was undone by hand: the undoing goes on with what was done before.
    `not_done` says that nobody will undo it: the saga stays `FAILED` and no longer needs an operator.
    """
    which = _which(query, trace_id, step_span_id)
    said = {"done": body["outcome"] == DONE, "output": body.get("output"), "evidence": body["evidence"]}
    return accepted(recovery.resolve(deps().database, g.principal, which, **said))


def _approval(body: dict[str, Any]) -> Approve:
    # An empty output is what clients send who want to change nothing.
    said = {name: body.get(name) for name in ("comment", "revision")}
    return Approve(actor(g.principal), arguments=body.get("output") or None, **said)


def _rejection(body: dict[str, Any]) -> Reject:
    said = {name: body.get(name) for name in ("comment", "revision")}
    return Reject(actor(g.principal), response=body.get("error_details") or None, **said)


def _decided(query: dict[str, Any], trace_id: str, span: str, command: Approve | Reject) -> Response:
    which = _which(query, trace_id, span)
    return accepted(step_decisions.decide_step(deps().database, g.principal, which, command).document())


def _recovered(
    act: Callable[..., dict[str, Any]], query: dict[str, Any], body: dict[str, Any], trace_id: str, span: str
) -> Response:
    token = body.pop("recovery_token", None)
    return accepted(act(deps().database, g.principal, _which(query, trace_id, span), Retry(token=token, **body)))


def _which(query: dict[str, Any], trace_id: str, span: str) -> StepRef:
    return StepRef(trace(trace_id), span, query.get("namespace"))
