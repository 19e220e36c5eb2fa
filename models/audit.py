"""The audit log: what was changed, by whom and from where; chained by hashes, one chain a namespace.

The database makes the links (migration 0005): an INSERT gets the next `seq` of its namespace and the hash
`SHA-256(previous hash ‖ seq as text ‖ ":" ‖ entry)`, and an UPDATE or DELETE of an entry is refused.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSON

from models.tables import metadata

# json keeps the text as it was written: the hash is of that text.
audit_events = Table(
    "audit_events",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entry", JSON, nullable=False),
    PrimaryKeyConstraint("namespace", "seq"),
    Index("ix_audit_events_subject", text("(entry ->> 'subject')"), "seq"),
)

# The last link of each chain. Its row is locked while a link is added: entries have the order of their commits.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 10},
)
