"""Shapes of what holds for a whole namespace."""

from marshmallow import Schema, fields


class NamespaceChangeSchema(Schema):
    review = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "policy of pauses and steps that say none; null: one approval by any reviewer"},
    )


class NamespaceSchema(Schema):
    namespace = fields.String(required=True)
    review = fields.Dict(required=True)
    changed_at = fields.AwareDateTime(required=True, allow_none=True)
    changed_by = fields.String(required=True, allow_none=True)
