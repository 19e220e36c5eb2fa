"""Tokens that the receivers of callbacks gave out: a callback authenticates with the token of its pause."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, SmallInteger, Table, Text, Uuid, text

from models.tables import metadata

# A table of its own: the log keeps all columns of `pauses`.
callback_tokens = Table(
    "callback_tokens",
    metadata,
    Column("pause_id", Uuid, ForeignKey("pauses.id", ondelete="CASCADE"), primary_key=True),
    # Encrypted with SAGAHOLD_ENCRYPTION_KEY, if that is set.
    Column("token", Text, nullable=False),
    # The time of the next report that the decision is pending; NULL: none follows.
    Column("progress_at", DateTime(timezone=True)),
    # The last report, and how many in a row failed.
    Column("delivery_id", Uuid),
    Column("failed", SmallInteger, nullable=False, server_default=text("0")),
    Index("ix_callback_tokens_progress_at", "progress_at", postgresql_where=text("progress_at IS NOT NULL")),
)
