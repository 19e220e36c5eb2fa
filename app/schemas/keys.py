"""Schemas of API keys."""

from datetime import timedelta

from marshmallow import Schema, fields, validate

from app.schemas.fields import Instant, namespaces, one_of, page_of, text
from domain.identity.access import Role
from services.identity.keys import MAX_OVERLAP, OVERLAP


class NewKeySchema(Schema):
    name = text(1, 100, required=True, metadata={"description": "A name that says who uses the key, and why."})
    role = one_of(Role, required=True)
    namespaces = namespaces(required=True)
    expires_at = Instant(allow_none=True, load_default=None)


class RotationSchema(Schema):
    overlap_seconds = fields.Integer(
        strict=True,
        load_default=int(OVERLAP / timedelta(seconds=1)),
        validate=validate.Range(0, int(MAX_OVERLAP / timedelta(seconds=1))),
        metadata={"description": "The seconds for which the old secret stays valid; 0 ends it at once."},
    )


class UsedDoorSchema(Schema):
    door = fields.String(
        required=True,
        metadata={
            "description": "`metadata.door`; `other` for a name that is not ours, `api` for none.",
            "example": "mcp",
        },
    )
    last_used_at = fields.AwareDateTime(
        required=True, metadata={"description": "The time of the last pause through this door, to the minute."}
    )


class KeySchema(Schema):
    id = fields.String(required=True)
    prefix = fields.String(required=True)
    name = fields.String(required=True)
    role = one_of(Role, required=True)
    namespaces = fields.List(fields.String(), required=True)
    created_at = fields.AwareDateTime(required=True)
    created_by = fields.String(required=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)
    revoked_at = fields.AwareDateTime(required=True, allow_none=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True)
    doors = fields.List(
        fields.Nested(UsedDoorSchema),
        required=True,
        metadata={"description": "The doors through which the key requested pauses, the one used last first."},
    )
    rotated_at = fields.AwareDateTime(required=True, allow_none=True)
    taken_up_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "The time of the first use of the secret from the last rotation; null before it."},
    )
    previous_valid_until = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "The time until which the previous secret is valid; null if there is none."},
    )


class KeyWithSecretSchema(KeySchema):
    key = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The key, shown only in this response; null in a replayed response."},
    )


KeyPageSchema = page_of(KeySchema, "KeyPageSchema")
