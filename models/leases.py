"""The columns of a due row: work that is recorded in the database, and only hinted at through the queue.

`due_at`: not to be started before. `hint_at`: when the sweep shall hint at it (again). While someone works on the row
it is leased: `lease_token` says by whom, `leased_until` how long that counts without a heartbeat.
"""

from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, Index, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid

from models.tables import metadata


def due_columns(*, may_rest: bool = False) -> tuple[Column[Any], ...]:
    """`may_rest`: both times are NULL while there is nothing to do."""
    return (
        Column("due_at", DateTime(timezone=True), nullable=may_rest),
        Column("hint_at", DateTime(timezone=True), nullable=may_rest),
        Column("lease_token", Uuid),
        Column("leased_until", DateTime(timezone=True)),
    )


def due_constraints() -> tuple[CheckConstraint, ...]:
    return (CheckConstraint("(lease_token IS NULL) = (leased_until IS NULL)", name="lease"),)


# When each worker last consumed a hint from a queue of its own: proof that it works, not only that it lives. The row
# `beat` is of the last sweep that beat has asked for.
worker_heartbeats = Table(
    "worker_heartbeats",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

# Rows whose work raises: how often it did lately, why, and until when they are left alone. `kind`: of work, as hints
# name it, or the sweep that met it.
set_aside = Table(
    "set_aside",
    metadata,
    Column("kind", Text, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failed_at", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("kind", "id"),
    Index("ix_set_aside_failed_at", "failed_at"),
)
