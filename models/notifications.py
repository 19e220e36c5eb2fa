"""Notifications that a review or a saga waits for people: due rows, one for each person (or group) and channel."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from models.leases import due_columns, due_constraints
from models.tables import metadata

# `recipient` is for people to read: an e-mail address or a group's name. `channel` is a URL that may contain secrets.
notifications = Table(
    "notifications",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The review that waits, or the saga that needs an operator.
    Column("pause_id", Uuid, ForeignKey("pauses.id", ondelete="CASCADE")),
    Column("saga_id", Uuid, ForeignKey("sagas.id", ondelete="CASCADE")),
    # A digest of the occasion, the recipient and the channel, so that each occasion notifies a recipient once.
    Column("once", Uuid, nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("namespace", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    *due_columns(),
    *due_constraints(),
    CheckConstraint("num_nonnulls(pause_id, saga_id) = 1", name="about_one"),
    CheckConstraint(
        "reason IN ('waiting', 'reminder', 'escalated', 'outcome_unknown', 'undo_failed', 'stuck')", name="reason"
    ),
    # obsolete: nothing waited any more when the notification was due.
    CheckConstraint("status IN ('pending', 'sent', 'failed', 'obsolete')", name="status"),
    CheckConstraint("(status = 'pending') = (completed_at IS NULL)", name="completed"),
    UniqueConstraint("pause_id", "once"),
    UniqueConstraint("saga_id", "once"),
    Index("ix_notifications_namespace_id", "namespace", "id"),
    Index(
        "ix_notifications_unsent",
        *("status", "id", "namespace"),
        postgresql_where=text("status IN ('pending', 'failed')"),
    ),
    Index("ix_notifications_missed", "namespace", "hint_at", postgresql_where=text("status = 'pending'")),
    Index("ix_notifications_due_at_pending", "due_at", postgresql_where=text("status = 'pending'")),
)
