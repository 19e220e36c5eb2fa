"""Schemas of the audit log."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import NAMESPACE_OR_ALL, Instant, PageQuery, matches, one_of, page_of, text
from domain.log.audit_chain import OVERDUE, ChainError
from domain.log.audit_rows import RowKind

# Longer than any type, id or name that is ever stored.
_LONGEST = 200


def _chain(meaning: str) -> fields.String:
    pattern = matches(NAMESPACE_OR_ALL, "Must be a namespace, or * for the chain of people, groups and shared objects.")
    return fields.String(validate=pattern, metadata={"description": meaning})


class AuditListQuery(PageQuery):
    namespace = _chain(
        "The namespace of the chain; `*` is the chain of shared objects. Default: the key's own namespace."
    )
    subject = text(1, _LONGEST, metadata={"description": "The id of the changed object."})
    type = text(1, _LONGEST, metadata={"description": "The type of the event, like `pause.approved`."})
    by = text(1, _LONGEST, metadata={"description": "The id of the key or person, or `system`."})
    since = Instant()
    until = Instant(metadata={"description": "The end of the period, exclusive."})


class AuditChainQuery(Schema):
    namespace = _chain(
        "The namespace of the chain; `*` is the chain of shared objects. Default: all that the key may see."
    )


class CheckpointQuery(Schema):
    namespace = _chain("The namespace of the log; `*` is that of shared objects. Default: the key's own namespace.")


def _whole(least: int, meaning: str) -> fields.Integer:
    # More entries than any log will have, and few enough for the database's type.
    return fields.Integer(required=True, validate=validate.Range(least, 2**53 - 1), metadata={"description": meaning})


class InclusionQuery(CheckpointQuery):
    index = _whole(0, "The index of the entry, which is its `seq` less one.")
    size = _whole(1, "The number of entries in the tree, such as a checkpoint's size.")


class ConsistencyQuery(CheckpointQuery):
    from_ = fields.Integer(
        required=True,
        data_key="from",
        attribute="from",
        validate=validate.Range(1, 2**53 - 1),
        metadata={"description": "The size of the older tree."},
    )
    to = _whole(1, "The size of the newer tree.")


class _ProofSchema(Schema):
    namespace = fields.String(required=True)
    origin = fields.String(
        required=True, metadata={"description": "The name of the log, as in the first line of its checkpoints."}
    )
    hashes = fields.List(
        fields.String(), required=True, metadata={"description": "The hashes of the proof (hex), in RFC 9162's order."}
    )
    root = fields.String(
        required=True, metadata={"description": "The root (hex) of the newer tree. Compare it with a checkpoint's."}
    )


class InclusionProofSchema(_ProofSchema):
    index = _whole(0, "The index of the entry, which is its `seq` less one.")
    size = _whole(1, "The number of entries in the tree.")
    leaf_hash = fields.String(
        required=True, metadata={"description": "The SHA-256 (hex) of a zero byte and the entry's text."}
    )


class ConsistencyProofSchema(_ProofSchema):
    from_ = fields.Integer(
        required=True, data_key="from", attribute="from", metadata={"description": "The size of the older tree."}
    )
    to = _whole(1, "The size of the newer tree.")


class AuditVerifyQuery(AuditChainQuery):
    rows = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether to compare pauses, sagas and steps with the log."},
    )


class AuditEventSchema(Schema):
    namespace = fields.String(required=True)
    seq = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "The position in the namespace's chain, from 1; null for a second or so after the change, "
            "until the entry is linked."
        },
    )
    hash = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The SHA-256 (hex) of the previous hash, `seq` as text, a colon, and the entry; null as "
            "long as `seq` is."
        },
    )
    at = fields.AwareDateTime(required=True)
    type = fields.String(required=True)
    subject = fields.String(required=True)
    by = fields.String(required=True)
    by_name = fields.String(required=True)
    where = fields.String(required=True, allow_none=True, metadata={"description": "The address of the caller."})
    before = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The digest of the object before the change; null if it did not exist."},
    )
    after = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The digest of the object after the change; null if it no longer exists."},
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
    id = fields.String(required=True, metadata={"description": "The id of the pause, or the trace id of the saga."})
    span = fields.String(
        required=True, allow_none=True, metadata={"description": "The span id of the step; null for a pause or saga."}
    )
    field = fields.String(
        required=True,
        metadata={"description": "The path of the differing field, like `decided_by_name` or `votes[0].comment`."},
    )
    logged = fields.Raw(
        required=True, allow_none=True, metadata={"description": "The value in the log, or its SHA-256."}
    )
    found = fields.Raw(
        required=True, allow_none=True, metadata={"description": "The value in the row, or its SHA-256."}
    )
    seq = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The position of the log entry; null if no entry mentions the row."},
    )


def _count(meaning: str) -> fields.Integer:
    return fields.Integer(required=True, validate=validate.Range(0), metadata={"description": meaning})


class RowVerdictSchema(Schema):
    checked = _count("The number of compared rows.")
    pauses = _count("The number of pauses among them.")
    sagas = _count("The number of sagas among them.")
    steps = _count("The number of steps and undos among them.")
    partly = _count("The number of rows for which an older release logged fewer fields than are compared now.")
    differences = _count("The number of differing fields.")
    bad = fields.List(
        fields.Nested(BadFieldSchema), required=True, metadata={"description": "The first 100 differing fields."}
    )
    first_bad = fields.Nested(BadFieldSchema, required=True, allow_none=True)


class VerdictSchema(Schema):
    ok = fields.Boolean(required=True)
    checked = fields.Integer(
        required=True, validate=validate.Range(0), metadata={"description": "The number of checked entries."}
    )
    unlinked = _count("The number of newer entries that are not linked yet. A change of them is not found.")
    overdue = _count(f"The number of entries among them that are {OVERDUE} s old or older; `ok` is then false.")
    signed = _count("The number of signed checkpoints whose roots fit the entries.")
    first_bad = fields.Nested(BadRowSchema, required=True, allow_none=True)
    rows = fields.Nested(RowVerdictSchema, metadata={"description": "The comparison with the rows, with `rows=true`."})


class EvidenceQuery(CheckpointQuery):
    subject = text(
        1, _LONGEST, required=True, metadata={"description": "The id of a pause (`wch_…`), or the trace id of a saga."}
    )


class EvidenceEntrySchema(Schema):
    index = _whole(0, "The index of the entry, which is its `seq` less one.")
    proof = fields.List(
        fields.String(), required=True, metadata={"description": "The hashes (hex) up to the checkpoint's root."}
    )
    entry = fields.String(required=True, metadata={"description": "The entry exactly as it is stored and hashed."})


class EvidenceSchema(Schema):
    namespace = fields.String(required=True)
    subjects = fields.List(
        fields.String(), required=True, metadata={"description": "The id, and those of a saga's held steps."}
    )
    checkpoint = fields.String(
        required=True, metadata={"description": "The latest signed checkpoint (C2SP `tlog-checkpoint`)."}
    )
    entries = fields.List(
        fields.Nested(EvidenceEntrySchema), required=True, metadata={"description": "The entries, oldest first."}
    )
    unsigned = _count("The number of newer entries that no checkpoint contains yet.")
    receipts = fields.List(
        fields.String(), required=True, metadata={"description": "The receipts (JWS) of the decided pauses."}
    )
    jwks = fields.Dict(required=True, metadata={"description": "The public keys, as at `/.well-known/jwks.json`."})
