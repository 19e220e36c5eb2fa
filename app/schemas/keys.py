"""Shapes of API keys."""

from marshmallow import Schema, fields

from app.schemas.fields import Instant, namespaces, one_of, page_of, text
from domain.access import Role


class NewKeySchema(Schema):
    name = text(1, 100, required=True, metadata={"description": "for people: who uses it, and what for"})
    role = one_of(Role, required=True)
    namespaces = namespaces(required=True)
    expires_at = Instant(allow_none=True, load_default=None)


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


class KeyWithSecretSchema(KeySchema):
    key = fields.String(
        required=True, allow_none=True, metadata={"description": "shown this once; null in a replayed answer"}
    )


KeyPageSchema = page_of(KeySchema, "KeyPageSchema")
