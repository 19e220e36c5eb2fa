"""Schemas of the keys that sign receipts."""

from marshmallow import Schema, fields, validate


class JwkSchema(Schema):
    kty = fields.String(required=True, metadata={"description": "The type of the key.", "example": "OKP"})
    crv = fields.String(required=True, metadata={"description": "The curve.", "example": "Ed25519"})
    x = fields.String(
        required=True,
        metadata={
            "description": "The public key, base64url.",
            "example": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        },
    )
    kid = fields.String(
        required=True,
        metadata={
            "description": "The key's name: its RFC 7638 thumbprint.",
            "example": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        },
    )
    use = fields.String(required=True, metadata={"description": "The use of the key.", "example": "sig"})
    alg = fields.String(required=True, metadata={"description": "The algorithm.", "example": "EdDSA"})


class JwkSetSchema(Schema):
    keys = fields.List(
        fields.Nested(JwkSchema),
        required=True,
        metadata={"description": "The public keys, the current one first. Retired ones stay."},
    )


class ReceiptKeySchema(Schema):
    kid = fields.String(required=True, metadata={"description": "The key's name: its RFC 7638 thumbprint."})
    created_at = fields.AwareDateTime(required=True)
    retired_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "The time of the rotation that replaced the key; null for the current key."},
    )
    place = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(["database", "folder", None]),
        metadata={"description": "The place of the private key; null if it is deleted.", "example": "database"},
    )
    encrypted = fields.Boolean(
        required=True,
        allow_none=True,
        metadata={"description": "Whether the private key is encrypted; null if it is deleted or not found."},
    )
    problem = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Why this server cannot sign with the current key, and what to do; null if it can."},
    )


class ReceiptKeysSchema(Schema):
    items = fields.List(fields.Nested(ReceiptKeySchema), required=True)
