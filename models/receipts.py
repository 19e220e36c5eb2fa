"""The keys that sign receipts. Exactly one is current, and the public keys of the others stay published."""

from sqlalchemy import CheckConstraint, Column, DateTime, Index, RowMapping, Table, Text, text

from domain.pauses.receipt_key import SigningKey
from models.tables import metadata

# `private_key` is PEM; NULL: in the folder of SAGAHOLD_RECEIPT_KEYS_DIR, or deleted because the key is retired.
receipt_keys = Table(
    "receipt_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("private_key", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    CheckConstraint("retired_at IS NULL OR private_key IS NULL", name="retired"),
    Index(
        "uq_receipt_keys_current",
        text("(retired_at IS NULL)"),
        unique=True,
        postgresql_where=text("retired_at IS NULL"),
    ),
)


def signing_key_of(row: RowMapping) -> SigningKey:
    return SigningKey(row["kid"], row["public_key"], row["private_key"])
