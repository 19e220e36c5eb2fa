"""Shapes of pauses: what comes in, and (as documentation that tests hold answers against) what goes out."""

from datetime import timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.schemas.fields import Count, Instant, PageQuery, ShortList, matches, namespace, one_of, page_of, small, text
from domain.draft import MAX_EXPIRY
from domain.pause import OnTimeout, Status

_TAG = "^[^\\s,]{1,64}$"
_STATUSES = [str(status) for status in Status]


class PauseDraftSchema(Schema):
    action = text(1, 500, required=True, metadata={"description": "what the agent wants to do"})
    context = fields.Dict(allow_none=True, metadata={"description": "whatever helps the reviewer"})
    arguments = fields.Dict(
        allow_none=True,
        metadata={"description": "exactly what will be executed; if present a reviewer may edit it"},
    )
    callback_url = fields.String(
        data_key="callbackUrl",
        allow_none=True,
        validate=validate.Length(1, 2048),
        metadata={"description": "http(s) URL that gets the signed webhook with the outcome", "format": "uri"},
    )
    expires_in = fields.Integer(
        data_key="expiresIn",
        allow_none=True,
        strict=True,
        validate=validate.Range(1, int(MAX_EXPIRY / timedelta(seconds=1))),
        metadata={"description": "seconds; null = never; default from settings (24 h)"},
    )
    expires_at = Instant(data_key="expiresAt", allow_none=True)
    on_timeout = one_of(OnTimeout, data_key="onTimeout", load_default=OnTimeout.EXPIRE)
    review = fields.Dict(allow_none=True, metadata={"description": "review policy; for now only {approvals: 1}"})
    response_schema = fields.Dict(
        data_key="responseSchema",
        allow_none=True,
        metadata={"description": "JSON Schema of what the approver must answer"},
    )
    namespace = namespace()
    priority = fields.Integer(strict=True, load_default=0, validate=validate.Range(0, 9))
    tags = ShortList(
        fields.String(validate=matches(_TAG, "1 to 64 characters without blanks and commas")), 0, 20, load_default=[]
    )
    metadata = fields.Dict(allow_none=True, metadata={"description": "yours; comes back as it is"})

    @validates_schema
    def _one_expiry(self, data: dict[str, Any], **_: Any) -> None:
        if "expires_in" in data and "expires_at" in data:
            raise ValidationError("Give either expiresIn or expiresAt.", "expiresAt")


class RejectSchema(Schema):
    comment = text(0, 10_000, allow_none=True)
    response = fields.Raw(
        allow_none=True, validate=small, metadata={"description": "as the pause's responseSchema asks"}
    )
    revision = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(1, 2**31 - 1),
        metadata={"description": "the revision that you have read; another one by now → 409"},
    )


class ApproveSchema(RejectSchema):
    decision = fields.String(load_default="approve", validate=validate.OneOf(["approve", "reject"]))
    arguments = fields.Dict(
        allow_none=True, validate=small, metadata={"description": "execute this instead of what the agent posted"}
    )


class CancelSchema(Schema):
    comment = text(0, 10_000, allow_none=True)


class PauseQuery(Schema):
    wait = Count(
        load_default=0,
        validate=validate.Range(0, 60),
        metadata={"description": "hold the answer until the pause is resolved, or this many seconds"},
    )


class PauseListQuery(PageQuery):
    status = one_of(Status)
    namespace = namespace()
    kind = fields.String(validate=validate.OneOf(["agent", "step"]))
    tag = fields.String(validate=validate.Length(1, 64))
    text = fields.String(data_key="q", validate=validate.Length(1, 200), metadata={"description": "part of the action"})
    created_after = Instant()
    created_before = Instant()


class VoteSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf(["approved", "rejected"]))
    by = fields.String(required=True)
    byName = fields.String(required=True)
    at = fields.AwareDateTime(required=True)
    comment = fields.String(required=True, allow_none=True)
    revision = fields.Integer(required=True)


class DecisionSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf(_STATUSES))
    decidedBy = fields.String(required=True, metadata={"description": "a key's id; `system` when time ran out"})
    decidedByName = fields.String(required=True)
    decidedAt = fields.AwareDateTime(required=True)
    comment = fields.String(required=True, allow_none=True)
    arguments = fields.Dict(required=True, allow_none=True, metadata={"description": "exactly what was approved"})
    response = fields.Raw(required=True, allow_none=True)
    votes = fields.List(fields.Nested(VoteSchema), required=True)


class AgentContextSchema(Schema):
    action = fields.String(required=True)
    context = fields.Dict(required=True)
    arguments = fields.Dict(required=True, allow_none=True)


class PauseSchema(Schema):
    watchId = fields.String(required=True)
    namespace = fields.String(required=True)
    kind = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(_STATUSES))
    createdAt = fields.AwareDateTime(required=True)
    createdBy = fields.String(required=True)
    expiresAt = fields.AwareDateTime(required=True, allow_none=True)
    onTimeout = fields.String(required=True, validate=validate.OneOf([str(value) for value in OnTimeout]))
    resolvedAt = fields.AwareDateTime(required=True, allow_none=True)
    agentContext = fields.Nested(AgentContextSchema, required=True)
    decision = fields.Nested(DecisionSchema, required=True, allow_none=True)
    review = fields.Dict(required=True)
    argumentsSchema = fields.Dict(required=True, allow_none=True)
    responseSchema = fields.Dict(required=True, allow_none=True)
    revision = fields.Integer(required=True)
    argumentsDigest = fields.String(required=True, allow_none=True)
    priority = fields.Integer(required=True)
    tags = fields.List(fields.String(), required=True)
    metadata = fields.Dict(required=True)
    callbackUrl = fields.String(required=True, allow_none=True)
    statusUrl = fields.String(required=True)
    reviewUrl = fields.String(required=True)


PausePageSchema = page_of(PauseSchema, "PausePageSchema")
