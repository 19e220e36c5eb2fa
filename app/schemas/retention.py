"""Schemas of retention rules and legal holds."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import NAMESPACE_OR_ALL, TrueOrFalse, Whole, YesOrNo, matches, text

_LONGEST = 36_500
_DECISIONS = "The days for which ended pauses and sagas are kept; null is the server's default."
_MESSAGES = "The days for which webhook messages are kept; null is the server's default."


def _days(meaning: str) -> Whole:
    limits = validate.Range(1, _LONGEST)
    return Whole(required=True, allow_none=True, validate=limits, metadata={"description": meaning, "example": 400})


class RetentionChangeSchema(Schema):
    decision_days = _days(_DECISIONS)
    message_days = _days(_MESSAGES)
    below_six_months = YesOrNo(
        load_default=False,
        metadata={
            "description": "Whether `decision_days` may be below 184. The EU AI Act asks many deployers for more."
        },
    )


class RetentionSchema(Schema):
    namespace = fields.String(required=True)
    decision_days = _days(_DECISIONS)
    message_days = _days(_MESSAGES)
    changed_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When the rule was changed; nothing is deleted for a day. Null without a rule."},
    )
    changed_by = fields.String(required=True, allow_none=True)


def _reason(meaning: str) -> fields.String:
    return text(1, 500, required=True, metadata={"description": meaning, "example": "Case 2026-17"})


class NewHoldSchema(Schema):
    namespace = fields.String(
        required=True,
        validate=matches(NAMESPACE_OR_ALL, "Must be a namespace, or * for all."),
        metadata={"description": "The namespace; `*` holds all of them."},
    )
    subject = text(
        1,
        100,
        load_default=None,
        allow_none=True,
        metadata={"description": "The id of a pause, or the trace id of a saga; null holds the whole namespace."},
    )
    reason = _reason("Why the data must be kept. The audit log has it.")


class HoldReleaseSchema(Schema):
    reason = _reason("Why the data need no longer be kept. The audit log has it.")


class HoldQuery(Schema):
    released = TrueOrFalse(load_default=False, metadata={"description": "Whether to list released holds too."})


class HoldSchema(Schema):
    id = fields.String(required=True, metadata={"description": "The id of the legal hold."})
    namespace = fields.String(required=True)
    subject = fields.String(
        required=True, allow_none=True, metadata={"description": "The id (hex) of the pause or saga; null means all."}
    )
    reason = fields.String(required=True, metadata={"description": "Why the data must be kept."})
    placed_at = fields.AwareDateTime(required=True, metadata={"description": "When the legal hold was placed."})
    placed_by = fields.String(required=True, metadata={"description": "The key or person that placed it."})
    released_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When it was released; null while it is active."}
    )
    released_by = fields.String(
        required=True, allow_none=True, metadata={"description": "The key or person that released it."}
    )
    release_reason = fields.String(required=True, allow_none=True, metadata={"description": "Why it was released."})


class HoldsSchema(Schema):
    items = fields.List(
        fields.Nested(HoldSchema), required=True, metadata={"description": "The legal holds, newest first."}
    )
