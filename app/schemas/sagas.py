"""Schemas of sagas, their steps, and decisions on steps."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.schemas.fields import (
    SPAN_ID,
    WATCH_ID,
    PageQuery,
    ShortList,
    TrueOrFalse,
    Whole,
    YesOrNo,
    between,
    matches,
    namespace,
    one_of,
    page_of,
    revision,
    small,
    text,
    trace_id,
)
from app.schemas.pauses import WaitingForSchema
from domain.manifests.definition import StepKind
from domain.sagas.saga import SagaStatus
from domain.sagas.step import StepStatus
from domain.values import canonical_json
from domain.values.field_reader import NAME, NAME_RULE

# Bytes. Every listing of the step includes the details.
MAX_ERROR_DETAILS = 16 * 1024
_KINDS = [str(kind) for kind in StepKind]
_VERDICTS = ("APPROVE", "REJECT")
DONE, NOT_DONE = "done", "not_done"


def _name(**kwargs: Any) -> fields.String:
    return fields.String(validate=matches(f"^{NAME.pattern}$", NAME_RULE), **kwargs)


class StartSchema(Schema):
    namespace = namespace()
    name = _name(required=True)
    version = _name(required=True)
    input = fields.Dict(load_default=dict, validate=small, metadata={"description": "The input of the saga."})
    idempotency_key = fields.String(
        allow_none=True,
        validate=matches("^[\\x20-\\x7e]{1,128}$", "Must be 1 to 128 printable ASCII characters."),
        metadata={"description": "The namespace starts only one saga with this key, without a time limit."},
    )
    trace_id = trace_id(allow_none=True, metadata={"description": "The trace id of the saga. Default: a new one."})


class StartedSchema(Schema):
    trace_id = fields.String(required=True)
    created = fields.Boolean(required=True, metadata={"description": "Whether this request started the saga."})


class SagaListQuery(PageQuery):
    trace_id = trace_id()
    namespace = namespace()
    status = ShortList(
        one_of(SagaStatus), 0, len(SagaStatus), metadata={"description": "Only sagas with one of these statuses."}
    )
    in_flight = TrueOrFalse(
        load_default=False, metadata={"description": "Only sagas that have not ended; not together with `status`."}
    )
    failed = TrueOrFalse(load_default=False)
    needs_operator = TrueOrFalse(
        load_default=False,
        metadata={"description": "Only sagas that need an operator."},
    )


class StepErrorSchema(Schema):
    code = fields.String(required=True)
    message = fields.String(required=True)
    details = fields.Raw(metadata={"description": "Further details; for a rejected step, the reviewer's."})


class SagaSchema(Schema):
    trace_id = fields.String(required=True)
    namespace = fields.String(required=True)
    definition_id = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf([str(status) for status in SagaStatus]))
    needs_operator = fields.Boolean(required=True)
    started_at = fields.AwareDateTime(required=True)
    ended_at = fields.AwareDateTime(required=True, allow_none=True)
    start_idempotency_key = fields.String(required=True, allow_none=True)
    error_details = fields.Nested(StepErrorSchema, required=True, allow_none=True)


class StepListQuery(PageQuery):
    trace_id = trace_id(required=True)
    namespace = namespace(
        metadata={"description": "The saga's namespace; another one gives 404. Default: the saga's namespace."}
    )
    status = ShortList(
        one_of(StepStatus),
        0,
        len(StepStatus),
        metadata={
            "description": "Only steps with one of these statuses. COMPLETED and COMPENSATED also find undone steps."
        },
    )


class StepQuery(Schema):
    namespace = namespace(
        metadata={"description": "The saga's namespace; another one gives 404. Default: the saga's namespace."}
    )


class StepSchema(Schema):
    step_span_id = fields.String(required=True, validate=matches(SPAN_ID, "Not a span id."))
    saga_trace_id = fields.String(required=True)
    namespace = fields.String(required=True)
    step_id = fields.String(required=True)
    step_name = fields.String(required=True)
    step_kind = fields.String(required=True, validate=validate.OneOf(_KINDS))
    order_index = fields.Integer(required=True)
    status = fields.String(required=True, validate=validate.OneOf([str(status) for status in StepStatus]))
    worker = fields.String(required=True)
    worker_version = fields.String(required=True)
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    end_time = fields.AwareDateTime(required=True, allow_none=True)
    attempt = fields.Integer(required=True, metadata={"description": "The number of executions that started."})
    idempotency_key = fields.String(
        required=True,
        metadata={
            "description": "The key that each call of the step carries. Search for it at the tool to see what was done."
        },
    )
    compensates_span_id = fields.String(
        required=True, allow_none=True, metadata={"description": "For an undo, the span id of the step that it undoes."}
    )
    error_details = fields.Nested(StepErrorSchema, required=True, allow_none=True)
    timing = fields.Dict(
        required=True,
        metadata={
            "description": "Milliseconds of the last execution: queue_ms, schedule_ms, setup_ms, llm_ms, tool_ms."
        },
    )
    usage = fields.Dict(
        required=True,
        metadata={"description": "For a reason step, the model's usage: requests, input_tokens, output_tokens."},
    )
    mock = fields.Boolean(required=True, metadata={"description": "Whether the output comes from the mock model."})
    watch_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The id of the pause that holds the step; null without one."},
    )


class CorrectionSchema(Schema):
    by = fields.String(required=True, metadata={"description": "The name of the operator."})
    at = fields.AwareDateTime(required=True)
    reason = fields.String(required=True, allow_none=True)
    before = fields.Dict(required=True, allow_none=True, metadata={"description": "The previous arguments."})


class StepWithContentSchema(StepSchema):
    resolved_arguments = fields.Dict(required=True, allow_none=True)
    output_payload = fields.Raw(
        required=True,
        allow_none=True,
        metadata={"description": "The output of the step, or the proposed output during a review."},
    )
    facts = fields.Dict(
        required=True, metadata={"description": "Facts that Sagahold took from the results of the model's tool calls."}
    )
    provider = fields.String(required=True, allow_none=True)
    model = fields.String(required=True, allow_none=True)
    prompt_ref = fields.String(required=True, allow_none=True)
    prompt_digest = fields.String(
        required=True, allow_none=True, metadata={"description": "The SHA-256 of the first message to the model."}
    )
    tool_calls = fields.List(
        fields.Dict(),
        required=True,
        metadata={"description": "The model's tool calls: name, arguments_digest, ms, outcome."},
    )
    transcript = fields.List(
        fields.Raw(),
        required=True,
        allow_none=True,
        metadata={"description": "The transcript, if the manifest sets keep_transcript."},
    )
    retries = fields.Integer(
        required=True, metadata={"description": "The number of further runs that reviewers requested."}
    )
    guidance = fields.String(
        required=True, allow_none=True, metadata={"description": "The guidance of the last such request."}
    )
    evidence = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The evidence from `resolve`, with the operator's name."},
    )
    correction = fields.Nested(
        CorrectionSchema,
        required=True,
        allow_none=True,
        metadata={"description": "For an undo, the operator's correction of its arguments; null without one."},
    )


class SagaWithStepsSchema(SagaSchema):
    context = fields.Dict(required=True, metadata={"description": "The data that bindings and expressions can use."})
    steps = fields.List(fields.Nested(StepSchema), required=True)
    cancel_reason = fields.String(required=True, allow_none=True)


class ReviewListQuery(PageQuery):
    trace_id = trace_id()
    namespace = namespace()
    kind = one_of(StepKind)


class ReviewSchema(Schema):
    namespace = fields.String(required=True)
    saga_trace_id = fields.String(required=True)
    step_span_id = fields.String(required=True)
    step_id = fields.String(required=True)
    step_name = fields.String(required=True)
    step_kind = fields.String(required=True, validate=validate.OneOf(_KINDS))
    order_index = fields.Integer(required=True)
    worker = fields.String(required=True)
    worker_version = fields.String(required=True)
    review_subject = fields.String(required=True, validate=validate.OneOf(["output", "arguments"]))
    review_payload = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "The exact arguments of a commit step, or the output of a reason step."},
    )
    revision = fields.Integer(
        required=True, metadata={"description": "The revision of the pause; send it with the decision."}
    )
    waiting_for = fields.Nested(WaitingForSchema, required=True, metadata={"description": "The missing votes."})
    mock = fields.Boolean(
        required=True, metadata={"description": "Whether the output under review comes from the mock model."}
    )
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    watch_id = fields.String(required=True, validate=matches(WATCH_ID, "Not the id of a pause."))
    review_url = fields.String(required=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)


def _check_error_details(value: Any) -> None:
    if value is not None and not isinstance(value, str | dict):
        raise ValidationError("Must be an object or a string.")
    if canonical_json.size(value) > MAX_ERROR_DETAILS:
        raise ValidationError(f"Larger than {MAX_ERROR_DETAILS // 1024} KiB.")


def _comment() -> fields.String:
    return text(0, 10_000, allow_none=True)


def _output() -> fields.Dict:
    return fields.Dict(
        allow_none=True,
        validate=small,
        metadata={
            "description": "For a reason step, an output that replaces the model's; an empty object replaces nothing."
        },
    )


def _error_details() -> fields.Raw:
    metadata = {
        "description": "The step's error_details: an object is stored as given, and a text becomes the message.",
        "type": ["object", "string"],
    }
    return fields.Raw(allow_none=True, validate=_check_error_details, metadata=metadata)


class ApproveStepSchema(Schema):
    output = _output()
    comment = _comment()
    revision = revision()


class RejectStepSchema(Schema):
    error_details = _error_details()
    comment = _comment()
    revision = revision()


class DecisionOnStepSchema(Schema):
    decision = fields.String(required=True, validate=validate.OneOf(_VERDICTS))
    output = _output()
    error_details = _error_details()
    comment = _comment()
    revision = revision()

    @validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        if data["decision"] == "APPROVE" and data.get("error_details"):
            raise ValidationError("Only a rejection may have it.", "error_details")
        if data["decision"] == "REJECT" and data.get("output"):
            raise ValidationError("Only an approval may have it.", "output")


class RerunSchema(Schema):
    guidance = text(
        0, 4096, allow_none=True, metadata={"description": "Guidance for the model. Default: the manifest's guidance."}
    )
    retry_token = text(
        1,
        128,
        allow_none=True,
        metadata={"description": "A token of the client; repeated requests with the same token count once."},
    )
    revision = Whole(
        allow_none=True,
        validate=between(1, 2**31 - 1),
        metadata={"description": "The revision that you have read. Another current revision gives 409."},
    )


class QueuedSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["queued", "already_queued"]))
    idempotency_key = fields.String(required=True)


class RecoveryWishSchema(Schema):
    force = YesOrNo(
        load_default=False,
        metadata={"description": "Whether to take over from a running worker, whose result is discarded."},
    )
    allow_destructive = YesOrNo(
        load_default=False, metadata={"description": "Whether to proceed even if the call may run twice."}
    )
    recovery_token = text(
        1,
        128,
        allow_none=True,
        metadata={"description": "A token of the client; repeated requests with the same token get the same response."},
    )
    reason = text(0, 10_000, allow_none=True)


class UndoRecoveryWishSchema(RecoveryWishSchema):
    arguments = fields.Dict(
        allow_none=True,
        validate=small,
        metadata={"description": "For a failed undo, the complete corrected arguments."},
    )


class RecoveryAnswerSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["requeued", "scheduled", "claim_active"]))
    idempotency_key = fields.String(required=True)


class ResolveSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf([DONE, NOT_DONE]))
    output = fields.Raw(
        allow_none=True, validate=small, metadata={"description": "The output of the call, if it was done."}
    )
    evidence = text(
        1, 10_000, required=True, metadata={"description": "How you know the outcome; stored with the step."}
    )

    @validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        if data["outcome"] == NOT_DONE and data.get("output") is not None:
            raise ValidationError("Only the outcome `done` may have it.", "output")


class ResolvedSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["resolved"]))
    idempotency_key = fields.String(required=True)


class CancelSagaSchema(Schema):
    reason = text(0, 10_000, allow_none=True)


class CancellingSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["queued"]))
    trace_id = fields.String(required=True)
    saga_status = fields.String(
        required=True, metadata={"description": "The status of the saga at the time of the request."}
    )


SagaPageSchema = page_of(SagaSchema, "SagaPageSchema")
StepPageSchema = page_of(StepSchema, "StepPageSchema")
ReviewPageSchema = page_of(ReviewSchema, "ReviewPageSchema")
