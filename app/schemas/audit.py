"""Shapes of the audit log."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import NAMESPACE_OR_ALL, Instant, PageQuery, matches, one_of, page_of, text
from domain.log.audit_chain import ChainError
from domain.log.audit_rows import RowKind

# Longer than any type, id or name that is ever stored.
_LONGEST = 200


def _chain(meaning: str) -> fields.String:
    pattern = matches(NAMESPACE_OR_ALL, "a namespace, or * for the chain of what belongs to several")
    return fields.String(validate=pattern, metadata={"description": meaning})


class AuditListQuery(PageQuery):
    namespace = _chain("whose chain, `*` for the one of what belongs to several; default: the key's own namespace")
    subject = text(1, _LONGEST, metadata={"description": "the id of what was changed"})
    type = text(1, _LONGEST, metadata={"description": "what was done: `pause.approved`"})
    by = text(1, _LONGEST, metadata={"description": "the id of the key or person, or `system`"})
    since = Instant()
    until = Instant(metadata={"description": "not included"})


class AuditChainQuery(Schema):
    namespace = _chain("one chain, `*` for the one of what belongs to several; default: all that the key may see")


class AuditVerifyQuery(AuditChainQuery):
    rows = fields.Boolean(
        load_default=False,
        metadata={"description": "whether pauses, sagas and steps are compared with what the log says, too"},
    )


class AuditEventSchema(Schema):
    namespace = fields.String(required=True)
    seq = fields.Integer(required=True, metadata={"description": "its place in the namespace's chain, from 1"})
    hash = fields.String(
        required=True,
        metadata={"description": "hex: SHA-256 of the hash before it, the seq as text, a colon, and the entry"},
    )
    at = fields.AwareDateTime(required=True)
    type = fields.String(required=True)
    subject = fields.String(required=True)
    by = fields.String(required=True)
    by_name = fields.String(required=True)
    where = fields.String(
        required=True, allow_none=True, metadata={"description": "the address that the request came from"}
    )
    before = fields.String(
        required=True, allow_none=True, metadata={"description": "digest of the thing; null: there was none"}
    )
    after = fields.String(
        required=True, allow_none=True, metadata={"description": "digest of the thing; null: there is none any more"}
    )
    details = fields.Dict(required=True, allow_none=True)


AuditPageSchema = page_of(AuditEventSchema, "AuditPageSchema")


class BadRowSchema(Schema):
    namespace = fields.String(required=True)
    seq = fields.Integer(required=True)
    what = one_of(ChainError, required=True)


class BadFieldSchema(Schema):
    namespace = fields.String(required=True)
    kind = one_of(RowKind, required=True)
    id = fields.String(required=True, metadata={"description": "of the pause, or the trace id of the saga"})
    span = fields.String(required=True, allow_none=True, metadata={"description": "of the step; null: it is none"})
    field = fields.String(
        required=True, metadata={"description": "in which it does not fit: `decided_by_name`, `votes[0].comment`"}
    )
    logged = fields.Raw(
        required=True, allow_none=True, metadata={"description": "what the log says: the value, or its SHA-256"}
    )
    found = fields.Raw(required=True, allow_none=True, metadata={"description": "what the row says, likewise"})
    seq = fields.Integer(
        required=True, allow_none=True, metadata={"description": "of the entry that says so; null: none tells of it"}
    )


def _count(meaning: str) -> fields.Integer:
    return fields.Integer(required=True, validate=validate.Range(0), metadata={"description": meaning})


class RowVerdictSchema(Schema):
    checked = _count("rows that were compared")
    pauses = _count("pauses among them")
    sagas = _count("sagas among them")
    steps = _count("steps and undos among them")
    partly = _count("rows of which an older release logged less than is compared now")
    differences = _count("fields that do not fit")
    bad = fields.List(
        fields.Nested(BadFieldSchema), required=True, metadata={"description": "the first 100 of these fields"}
    )
    first_bad = fields.Nested(BadFieldSchema, required=True, allow_none=True)


class VerdictSchema(Schema):
    ok = fields.Boolean(required=True)
    checked = fields.Integer(required=True, validate=validate.Range(0), metadata={"description": "rows looked at"})
    first_bad = fields.Nested(BadRowSchema, required=True, allow_none=True)
    rows = fields.Nested(RowVerdictSchema, metadata={"description": "with `rows=true`"})
