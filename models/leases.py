"""The columns of a due row: work that the database records, and about which the queue only carries wake-ups.

`due_at` is the earliest start, `hint_at` the time of the sweep's next wake-up. A worker leases the row: `lease_token`
identifies the worker, and `leased_until` is the end of the lease without a heartbeat.
"""

from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, Index, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid

from models.tables import metadata


def due_columns(*, may_rest: bool = False) -> tuple[Column[Any], ...]:
    """Return the columns. `may_rest`: both times are NULL while there is nothing to do."""
    return (
        Column("due_at", DateTime(timezone=True), nullable=may_rest),
        Column("hint_at", DateTime(timezone=True), nullable=may_rest),
        Column("lease_token", Uuid),
        Column("leased_until", DateTime(timezone=True)),
    )


def due_constraints() -> tuple[CheckConstraint, ...]:
    return (CheckConstraint("(lease_token IS NULL) = (leased_until IS NULL)", name="lease"),)


# The time at which each worker last consumed a wake-up from its own queue, which proves that it works. The row `beat`
# has the time of beat's last sweep.
worker_heartbeats = Table(
    "worker_heartbeats",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

# Rows whose work raised errors: how often, why, and until when workers skip them. `kind` is the kind of work as in
# wake-ups, or the name of the sweep.
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
