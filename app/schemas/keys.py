"""Shapes of API keys."""

from datetime import timedelta

from marshmallow import Schema, fields, validate

from app.schemas.fields import Instant, namespaces, one_of, page_of, text
from domain.identity.access import Role
from services.identity.keys import MAX_OVERLAP, OVERLAP


class NewKeySchema(Schema):
    name = text(1, 100, required=True, metadata={"description": "for people: who uses it, and what for"})
    role = one_of(Role, required=True)
    namespaces = namespaces(required=True)
    expires_at = Instant(allow_none=True, load_default=None)


class RotationSchema(Schema):
    overlap_seconds = fields.Integer(
        strict=True,
        load_default=int(OVERLAP / timedelta(seconds=1)),
        validate=validate.Range(0, int(MAX_OVERLAP / timedelta(seconds=1))),
        metadata={"description": "for so long the old secret works, too; 0: no longer"},
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
    rotated_at = fields.AwareDateTime(required=True, allow_none=True)
    taken_up_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "when the secret of the last rotation was used first"}
    )
    previous_valid_until = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "until then the secret before it works, too"}
    )


class KeyWithSecretSchema(KeySchema):
    key = fields.String(
        required=True, allow_none=True, metadata={"description": "shown this once; null in a replayed answer"}
    )


KeyPageSchema = page_of(KeySchema, "KeyPageSchema")
