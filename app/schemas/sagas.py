"""Shapes of sagas, their steps, and what is decided on them."""

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

# Enough for a reason with its particulars; it goes into every listing of the step. Bytes.
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
    input = fields.Dict(load_default=dict, validate=small, metadata={"description": "what the saga sees as `input`"})
    idempotency_key = fields.String(
        allow_none=True,
        validate=matches("^[\\x20-\\x7e]{1,128}$", "1 to 128 printable ASCII characters"),
        metadata={"description": "the namespace starts one saga with it, for good"},
    )
    trace_id = trace_id(allow_none=True, metadata={"description": "your own; default: a new one"})


class StartedSchema(Schema):
    trace_id = fields.String(required=True)
    created = fields.Boolean(required=True, metadata={"description": "false: it was started before"})


class SagaListQuery(PageQuery):
    trace_id = trace_id()
    namespace = namespace()
    status = ShortList(one_of(SagaStatus), 0, len(SagaStatus), metadata={"description": "any of these"})
    in_flight = TrueOrFalse(load_default=False, metadata={"description": "has not ended; not together with `status`"})
    failed = TrueOrFalse(load_default=False)
    needs_operator = TrueOrFalse(
        load_default=False,
        metadata={"description": "nobody knows what came of a call, or an undo failed: an operator settles it"},
    )


class StepErrorSchema(Schema):
    code = fields.String(required=True)
    message = fields.String(required=True)
    details = fields.Raw(metadata={"description": "what else is known; a rejected step has what its reviewer gave"})


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
    namespace = namespace(metadata={"description": "404 for a saga of another; default: the saga's own"})
    status = ShortList(
        one_of(StepStatus),
        0,
        len(StepStatus),
        metadata={"description": "any of these; an undone step and its undo are found by COMPLETED and COMPENSATED"},
    )


class StepQuery(Schema):
    namespace = namespace(metadata={"description": "404 for a saga of another; default: the saga's own"})


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
    attempt = fields.Integer(required=True, metadata={"description": "executions begun"})
    idempotency_key = fields.String(
        required=True,
        metadata={"description": "what each call for the step carries: search for it at the tool to see what was done"},
    )
    compensates_span_id = fields.String(
        required=True, allow_none=True, metadata={"description": "of an undo: the step that it undoes"}
    )
    error_details = fields.Nested(StepErrorSchema, required=True, allow_none=True)
    timing = fields.Dict(
        required=True,
        metadata={"description": "ms of the last execution: queue_ms, schedule_ms, setup_ms, llm_ms, tool_ms"},
    )
    usage = fields.Dict(
        required=True, metadata={"description": "of a reason step: requests, input_tokens, output_tokens"}
    )
    mock = fields.Boolean(required=True, metadata={"description": "the output comes from no model"})
    watch_id = fields.String(required=True, allow_none=True, metadata={"description": "of the pause that holds it"})


class CorrectionSchema(Schema):
    by = fields.String(required=True, metadata={"description": "name of the operator"})
    at = fields.AwareDateTime(required=True)
    reason = fields.String(required=True, allow_none=True)
    before = fields.Dict(required=True, allow_none=True, metadata={"description": "the arguments until then"})


class StepWithContentSchema(StepSchema):
    resolved_arguments = fields.Dict(required=True, allow_none=True)
    output_payload = fields.Raw(
        required=True, allow_none=True, metadata={"description": "what was merged, or what waits for a reviewer to be"}
    )
    facts = fields.Dict(required=True, metadata={"description": "taken from the tools' own answers to the model"})
    provider = fields.String(required=True, allow_none=True)
    model = fields.String(required=True, allow_none=True)
    prompt_ref = fields.String(required=True, allow_none=True)
    prompt_digest = fields.String(
        required=True, allow_none=True, metadata={"description": "SHA-256 of what the model was sent first"}
    )
    tool_calls = fields.List(
        fields.Dict(), required=True, metadata={"description": "of the model: name, arguments_digest, ms, outcome"}
    )
    transcript = fields.List(
        fields.Raw(), required=True, allow_none=True, metadata={"description": "where keep_transcript is true"}
    )
    retries = fields.Integer(required=True, metadata={"description": "re-runs that reviewers asked for"})
    guidance = fields.String(required=True, allow_none=True, metadata={"description": "of the last such request"})
    evidence = fields.String(required=True, allow_none=True, metadata={"description": "of `resolve`: who said what"})
    correction = fields.Nested(
        CorrectionSchema,
        required=True,
        allow_none=True,
        metadata={"description": "of an undo: an operator has replaced its arguments"},
    )


class SagaWithStepsSchema(SagaSchema):
    context = fields.Dict(required=True, metadata={"description": "what bindings and expressions see"})
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
        metadata={"description": "of a commit step exactly what will be executed, of a reason step what it has found"},
    )
    revision = fields.Integer(required=True, metadata={"description": "of the pause: give it along with the decision"})
    waiting_for = fields.Nested(WaitingForSchema, required=True, metadata={"description": "whose votes are missing"})
    mock = fields.Boolean(required=True, metadata={"description": "the output under review comes from no model"})
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    watch_id = fields.String(required=True, validate=matches(WATCH_ID, "Not the id of a pause."))
    review_url = fields.String(required=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)


def _is_explained(value: Any) -> None:
    if value is not None and not isinstance(value, str | dict):
        raise ValidationError("Neither an object nor a string.")
    if canonical_json.size(value) > MAX_ERROR_DETAILS:
        raise ValidationError(f"Larger than {MAX_ERROR_DETAILS // 1024} KiB.")


def _comment() -> fields.String:
    return text(0, 10_000, allow_none=True)


def _output() -> fields.Dict:
    return fields.Dict(
        allow_none=True,
        validate=small,
        metadata={"description": "of a reason step, instead of what it has found; empty is none"},
    )


def _error_details() -> fields.Raw:
    wanted = {
        "description": "becomes the step's error_details: its fields stand there as given; a text is the message",
        "type": ["object", "string"],
    }
    return fields.Raw(allow_none=True, validate=_is_explained, metadata=wanted)


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
            raise ValidationError("Only a rejection has one.", "error_details")
        if data["decision"] == "REJECT" and data.get("output"):
            raise ValidationError("Only an approval has one.", "output")


class RerunSchema(Schema):
    guidance = text(0, 4096, allow_none=True, metadata={"description": "what to do better; default: the manifest's"})
    retry_token = text(1, 128, allow_none=True, metadata={"description": "yours: with the same one it counts once"})
    revision = Whole(
        allow_none=True,
        validate=between(1, 2**31 - 1),
        metadata={"description": "the revision that you have read; another by now → 409"},
    )


class QueuedSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["queued", "already_queued"]))
    idempotency_key = fields.String(required=True)


class RecoveryWishSchema(Schema):
    force = YesOrNo(load_default=False, metadata={"description": "also while a worker is at it; its result is dropped"})
    allow_destructive = YesOrNo(
        load_default=False, metadata={"description": "also where it may be carried out a second time"}
    )
    recovery_token = text(1, 128, allow_none=True, metadata={"description": "yours: repeated, the same answer"})
    reason = text(0, 10_000, allow_none=True)


class UndoRecoveryWishSchema(RecoveryWishSchema):
    arguments = fields.Dict(
        allow_none=True,
        validate=small,
        metadata={"description": "of an undo that failed: all that it is tried with, instead of what it had"},
    )


class RecoveryAnswerSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["requeued", "scheduled", "claim_active"]))
    idempotency_key = fields.String(required=True)


class ResolveSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf([DONE, NOT_DONE]))
    output = fields.Raw(allow_none=True, validate=small, metadata={"description": "of what was done"})
    evidence = text(1, 10_000, required=True, metadata={"description": "how you know; it is kept"})

    @validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        if data["outcome"] == NOT_DONE and data.get("output") is not None:
            raise ValidationError("What was not done has none.", "output")


class ResolvedSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["resolved"]))
    idempotency_key = fields.String(required=True)


class CancelSagaSchema(Schema):
    reason = text(0, 10_000, allow_none=True)


class CancellingSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["queued"]))
    trace_id = fields.String(required=True)
    saga_status = fields.String(required=True, metadata={"description": "when it was asked"})


SagaPageSchema = page_of(SagaSchema, "SagaPageSchema")
StepPageSchema = page_of(StepSchema, "StepPageSchema")
ReviewPageSchema = page_of(ReviewSchema, "ReviewPageSchema")
