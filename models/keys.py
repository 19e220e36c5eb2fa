"""API keys, of which only hashes are stored, and the stored responses of idempotency keys."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    RowMapping,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from domain.identity.access import Authentication, Principal, Role
from domain.values import ids
from models.tables import metadata
from models.words import word

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("namespaces", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    # By door, the time of the last pause that the key requested through it. At most one entry for each door of ours.
    Column("doors", JSONB(none_as_null=True)),
    # Only for a rotated key. `previous_hash` works until `previous_until`; `taken_up_at` is the first use of `hash`.
    Column("rotated_at", DateTime(timezone=True)),
    Column("previous_hash", LargeBinary, unique=True),
    Column("previous_until", DateTime(timezone=True)),
    Column("taken_up_at", DateTime(timezone=True)),
    CheckConstraint("role IN ('agent', 'reviewer', 'operator', 'admin')", name="role"),
    CheckConstraint("cardinality(namespaces) > 0", name="namespaces"),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # The pause or saga that the request created. The key is kept at least as long as that is open.
    Column("pause_id", Uuid),
    Column("saga_id", Uuid),
    PrimaryKeyConstraint("namespace", "key"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)


def principal_of(row: RowMapping) -> Principal:
    return Principal(
        ids.text(ids.KEY, row["id"]),
        row["name"],
        word(Role, row["role"], "role", []),
        tuple(row["namespaces"]),
        auth=Authentication.API_KEY,
    )
