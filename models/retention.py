"""How long namespaces keep their rows, and legal holds that keep them longer. Without a row, defaults apply."""

from sqlalchemy import CheckConstraint, Column, DateTime, Integer, Table, Text, Uuid

from models.tables import metadata

# NULL is the server's default, SAGAHOLD_RETENTION_DAYS.
retention_rules = Table(
    "retention_rules",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("decision_days", Integer),
    Column("message_days", Integer),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("changed_by", Text, nullable=False),
    CheckConstraint("decision_days > 0 AND message_days > 0", name="days"),
)

# `namespace`: `*` is all of them. `subject`: the id of a pause or saga; NULL is the whole namespace.
legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("subject", Uuid),
    Column("reason", Text, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("released_at", DateTime(timezone=True)),
    Column("released_by", Text),
    Column("release_reason", Text),
    CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="released"),
)
