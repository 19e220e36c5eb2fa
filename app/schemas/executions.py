"""Schemas of the use of an approval and of its outcome."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from app.schemas.fields import matches, one_of, text
from domain.pauses.consumption import MAX_NOTE, MAX_RESULT_BYTES, SETTLED, ExecutionStatus
from domain.values import canonical_json


class ConsumeSchema(Schema):
    arguments_digest = fields.String(
        data_key="argumentsDigest",
        allow_none=True,
        validate=matches("^[0-9a-f]{64}$", "Must be a SHA-256 in 64 lowercase hexadecimal digits."),
        metadata={
            "description": "The digest of the arguments that you are about to execute."
            " Another digest than the approved one gets 409.",
            "example": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        },
    )


def _small_result(value: Any) -> None:
    if canonical_json.size(value) > MAX_RESULT_BYTES:
        raise ValidationError(f"Larger than {MAX_RESULT_BYTES // 1024} KiB.")


class OutcomeSchema(Schema):
    status = one_of(
        ExecutionStatus,
        required=True,
        metadata={"description": "`unknown` if you cannot tell whether the action took effect: a person then looks."},
    )
    note = text(0, MAX_NOTE, allow_none=True, metadata={"description": "A note for people.", "example": "refund R-7"})
    result = fields.Raw(
        allow_none=True,
        validate=_small_result,
        metadata={"description": "The result of the action: any JSON value up to 64 KiB.", "example": {"id": "R-7"}},
    )


class SettleSchema(Schema):
    status = fields.String(
        required=True,
        validate=validate.OneOf(list(map(str, SETTLED))),
        metadata={"description": "Whether the action took effect."},
    )
    note = text(
        1, MAX_NOTE, required=True, metadata={"description": "How you know.", "example": "the ledger has refund R-7"}
    )


class OutcomeOfExecutionSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(list(map(str, ExecutionStatus))))
    note = fields.String(required=True, allow_none=True)
    result = fields.Raw(required=True, allow_none=True)
    reportedAt = fields.AwareDateTime(required=True)
    settledBy = fields.String(
        metadata={
            "description": "Only for an outcome that an operator settled: who did.",
            "example": "usr_01994f3b7c2e7d41a0b5c6d7e8f90125",
        }
    )
    settledByName = fields.String(metadata={"description": "Their name.", "example": "Ana"})


class ConsumptionSchema(Schema):
    consumedAt = fields.AwareDateTime(required=True)
    outcomeDueAt = fields.AwareDateTime(required=True, allow_none=True)
    outcome = fields.Nested(
        OutcomeOfExecutionSchema, metadata={"description": "The outcome; absent until it is reported."}
    )
