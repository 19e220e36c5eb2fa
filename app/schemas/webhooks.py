"""Schemas of webhook endpoints, deliveries and secrets."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import (
    ENDPOINT_ID,
    WATCH_ID,
    Instant,
    PageQuery,
    ShortList,
    YesOrNo,
    matches,
    namespace,
    namespaces,
    one_of,
    page_of,
    text,
)
from domain.delivery.webhook import EVENT_TYPES, AttemptOutcome, DeliveryStatus


class EndpointChangeSchema(Schema):
    url = text(1, 2048, metadata={"format": "uri"})
    event_types = ShortList(
        fields.String(validate=validate.OneOf(EVENT_TYPES)),
        0,
        50,
        metadata={"description": "The event types that the endpoint receives; empty means all."},
    )
    namespaces = namespaces()
    description = text(0, 500)
    headers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "Headers that Sagahold adds to each request."},
    )
    enabled = YesOrNo()


class NewEndpointSchema(EndpointChangeSchema):
    url = text(1, 2048, required=True, metadata={"format": "uri"})
    namespaces = namespaces(required=True)


class EndpointSchema(Schema):
    id = fields.String(required=True)
    url = fields.String(required=True)
    event_types = fields.List(fields.String(), required=True)
    namespaces = fields.List(fields.String(), required=True)
    description = fields.String(required=True)
    headers = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    enabled = fields.Boolean(required=True)
    disabled_reason = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The reason why Sagahold disabled the endpoint; null if a person did."},
    )
    failing_since = fields.AwareDateTime(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class EndpointWithSecretSchema(EndpointSchema):
    secret = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The secret, shown only in this response; null in a replayed response."},
    )


class SecretSchema(Schema):
    secret = fields.String(required=True)


class NamespaceQuery(Schema):
    namespace = namespace()


class RecoverSchema(Schema):
    since = Instant(required=True)


class RecoveredSchema(Schema):
    recovered = fields.Integer(required=True)


class TestSentSchema(Schema):
    delivery_id = fields.String(required=True)


class DeliveryListQuery(PageQuery):
    status = one_of(DeliveryStatus)
    namespace = namespace()
    endpoint_id = fields.String(validate=matches(ENDPOINT_ID, "Not the id of an endpoint."))
    watch_id = fields.String(validate=matches(WATCH_ID, "Not the id of a pause."))


class DeliverySchema(Schema):
    id = fields.String(required=True)
    webhook_id = fields.String(
        required=True, metadata={"description": "The id of the message, the same in each attempt."}
    )
    type = fields.String(required=True)
    namespace = fields.String(required=True)
    watch_id = fields.String(required=True, allow_none=True)
    endpoint_id = fields.String(required=True, allow_none=True)
    url = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf([str(status) for status in DeliveryStatus]))
    attempts = fields.Integer(required=True)
    last_error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    next_attempt_at = fields.AwareDateTime(required=True, allow_none=True)
    completed_at = fields.AwareDateTime(required=True, allow_none=True)


class AttemptSchema(Schema):
    number = fields.Integer(required=True)
    started_at = fields.AwareDateTime(required=True)
    duration_ms = fields.Integer(required=True)
    outcome = fields.String(required=True, validate=validate.OneOf([str(outcome) for outcome in AttemptOutcome]))
    status_code = fields.Integer(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    excerpt = fields.String(
        required=True, allow_none=True, metadata={"description": "The first 1 KiB of the receiver's response."}
    )


class DeliveryWithAttemptsSchema(DeliverySchema):
    attempts_made = fields.List(fields.Nested(AttemptSchema), required=True)


EndpointPageSchema = page_of(EndpointSchema, "EndpointPageSchema")
DeliveryPageSchema = page_of(DeliverySchema, "DeliveryPageSchema")
