"""The audit log: each change with its author and client address, in one hash chain per namespace.

Triggers of the database make the chain (migration 0006). An INSERT gets the next `seq` of its namespace and the hash
`SHA-256(previous hash ‖ seq as text ‖ ":" ‖ entry)`. An UPDATE or DELETE of an entry is refused.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSON

from models.tables import metadata

# The type json keeps the text as it was written, and the hash covers that text.
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

# The last link of each chain. An INSERT locks its row, so entries have the order of their commits.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 10},
)
