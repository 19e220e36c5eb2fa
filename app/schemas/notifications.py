"""Schemas of notifications."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import WATCH_ID, PageQuery, matches, namespace, one_of, page_of, text, trace_id
from domain.delivery.notification import NotificationStatus, Reason


class NotificationListQuery(PageQuery):
    status = one_of(NotificationStatus)
    namespace = namespace()
    watch_id = fields.String(validate=matches(WATCH_ID, "Not the id of a pause."))
    trace_id = trace_id()
    recipient = text(1, 254)


class NotificationSchema(Schema):
    id = fields.String(required=True)
    watch_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The id of the waiting review; null if it is about a saga."},
    )
    trace_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The id of the saga that needs an operator; null if it is about a review."},
    )
    namespace = fields.String(required=True)
    recipient = fields.String(
        required=True, metadata={"description": "The e-mail address of a person, or the name of a group."}
    )
    channel = fields.String(
        required=True, metadata={"description": "The service and, if the URL names one, its host; the rest is secret."}
    )
    reason = fields.String(required=True, validate=validate.OneOf([str(reason) for reason in Reason]))
    status = fields.String(required=True, validate=validate.OneOf([str(status) for status in NotificationStatus]))
    attempts = fields.Integer(required=True)
    last_error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    next_attempt_at = fields.AwareDateTime(required=True, allow_none=True)
    completed_at = fields.AwareDateTime(required=True, allow_none=True)


NotificationPageSchema = page_of(NotificationSchema, "NotificationPageSchema")
