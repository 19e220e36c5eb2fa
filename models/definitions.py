"""Deployed manifests. A row's content never changes, so a process may cache the parsed definition."""

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, Index, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSON

from models.tables import metadata

definitions = Table(
    "definitions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("content", JSON, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
    # True if an admin of only some namespaces deployed it. NULL in rows of older releases.
    Column("scoped", Boolean),
    CheckConstraint("kind IN ('worker', 'saga')", name="kind"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    Index(
        "uq_definitions_active",
        "kind",
        "namespace",
        "name",
        "version",
        unique=True,
        postgresql_where=text("is_active"),
    ),
    Index("ix_definitions_kind_id", "kind", "id"),
)
