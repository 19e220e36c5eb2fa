"""The audit log: each change with its author and client address, in one hash chain per namespace.

A transaction adds the entries of its changes to `audit_unlinked`, and waits for no other one. After the commit,
`audit_link_entries` moves them into the chains: each gets the next `seq` of its namespace and the hash
`SHA-256(previous hash ‖ seq as text ‖ ":" ‖ entry)`. Triggers refuse every other change of an entry (migrations 0006
and 0029).

`services.log.tree` then keeps the Merkle tree of each chain, and `services.operations.checkpoints` signs its root.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from models.tables import metadata

# The type json keeps the text as it was written, and the hash covers that text.
# `entry_id` is the entry's id in `audit_unlinked`, null for an entry that an earlier release wrote.
audit_events = Table(
    "audit_events",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entry", JSON, nullable=False),
    Column("entry_id", BigInteger),
    PrimaryKeyConstraint("namespace", "seq"),
    Index("ix_audit_events_subject", text("(entry ->> 'subject')"), "seq"),
    # Without these two, a search for a rare person or type reads the whole chain: over 10 s for a million entries. They
    # cost the sequencer about 11 µs an entry, which no request waits for.
    Index("ix_audit_events_by", "namespace", text("(entry ->> 'by')"), "seq"),
    Index("ix_audit_events_type", "namespace", text("(entry ->> 'type')"), "seq"),
)

# Entries that are not linked yet. The order of ids is not that of commits: a row may appear below one already linked.
audit_unlinked = Table(
    "audit_unlinked",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("entry", JSON, nullable=False),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

# The last link of each chain. Linking locks its row.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 10},
)

# The Merkle tree of each chain (`domain.log.merkle`), in rows of up to 256 hashes of one level in 8. A row of
# leaves is stored when it is full. A row above it grows by one hash for each full row below.
audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("tier", SmallInteger, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("namespace", "tier", "place"),
    CheckConstraint("length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192", name="hashes"),
)

# Signed sizes and roots of the chains. `kept`: the first one of a chain, and one an hour; of the others only the last.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("kept", Boolean, nullable=False),
    PrimaryKeyConstraint("namespace", "size"),
)
