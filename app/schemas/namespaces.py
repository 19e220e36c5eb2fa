"""Schemas of the settings of a namespace."""

from datetime import timedelta

from marshmallow import Schema, fields, validate

from app.schemas.fields import ShortList
from domain.pauses.consumption import MAX_VALID_FOR
from domain.pauses.creation import MAX_EXPIRY
from domain.pauses.pause import OnTimeout


class NamespaceChangeSchema(Schema):
    review = fields.Dict(
        required=True,
        allow_none=True,
        metadata={
            "description": "The minimum approval policy of all reviews; null means one approval by any reviewer."
        },
    )
    allowed_on_timeout = ShortList(
        fields.Enum(OnTimeout, by_value=fields.String()),
        1,
        4,
        allow_none=True,
        metadata={
            "description": "The values that `onTimeout` may have; null means all but `approve`. If omitted, it stays.",
            "example": ["expire", "reject"],
        },
    )
    min_expires_in = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(1, int(MAX_EXPIRY / timedelta(seconds=1))),
        metadata={"description": "The shortest time limit in seconds; null means none. If omitted, it stays."},
    )
    approval_valid_for = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(1, MAX_VALID_FOR),
        metadata={
            "description": "The seconds in which an agent may use an approval: the default and the upper limit of"
            " `approvalValidFor`; null means no limit. If omitted, it stays."
        },
    )


class NamespaceSchema(Schema):
    namespace = fields.String(required=True)
    review = fields.Dict(required=True)
    allowed_on_timeout = fields.List(fields.String(), required=True)
    min_expires_in = fields.Integer(required=True, allow_none=True)
    approval_valid_for = fields.Integer(required=True, allow_none=True)
    changed_at = fields.AwareDateTime(required=True, allow_none=True)
    changed_by = fields.String(required=True, allow_none=True)
