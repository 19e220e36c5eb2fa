"""Webhooks: endpoints, signing secrets, messages, deliveries (due rows) and attempts."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    RowMapping,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from domain.delivery.webhook import Delivery, DeliveryStatus, Health
from models.leases import due_columns, due_constraints
from models.tables import metadata

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("namespaces", ARRAY(Text), nullable=False),
    Column("headers", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("failing_since", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # The endpoint is out of use. Its row is deleted after its deliveries no longer refer to it.
    Column("deleted_at", DateTime(timezone=True)),
    CheckConstraint("cardinality(namespaces) > 0", name="namespaces"),
    CheckConstraint("disabled_reason IS NULL OR NOT enabled", name="disabled_reason"),
)

# A secret belongs to an endpoint, or to a namespace for the callbacks of its pauses. Only the newest one is shown.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), index=True),
    Column("namespace", Text),
    Column("secret", Text, nullable=False),
    Column("retires_at", DateTime(timezone=True)),
    CheckConstraint("(endpoint_id IS NULL) <> (namespace IS NULL)", name="owner"),
    Index("uq_webhook_secrets_endpoint", "endpoint_id", unique=True, postgresql_where=text("retires_at IS NULL")),
    Index("uq_webhook_secrets_namespace", "namespace", unique=True, postgresql_where=text("retires_at IS NULL")),
)

webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
)

# `lane` is the receiver (an endpoint's id or a callback URL's origin) and the namespace. Within a lane, messages about
# one pause keep the order of `seq`, and the number of concurrent attempts is limited.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(), nullable=False),
    Column("message_id", Uuid, ForeignKey("webhook_messages.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("namespace", Text, nullable=False),
    Column("pause_id", Uuid),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id", ondelete="SET NULL")),
    Column("url", Text, nullable=False),
    Column("lane", Text, nullable=False),
    # The format of a callback, which gets another body than the message's; NULL: a Standard Webhook.
    Column("format", Text),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retry", SmallInteger, nullable=False),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    *due_columns(),
    *due_constraints(),
    CheckConstraint("status IN ('pending', 'delivered', 'exhausted')", name="status"),
    CheckConstraint("(status = 'pending') = (completed_at IS NULL)", name="completed"),
    Index("ix_webhook_deliveries_namespace_id", "namespace", "id"),
    Index(
        "ix_webhook_deliveries_undelivered",
        *("status", "id", "namespace"),
        postgresql_where=text("status IN ('pending', 'exhausted')"),
    ),
    # Finds an endpoint's pending or exhausted deliveries in batches, however many others are delivered.
    Index("ix_webhook_deliveries_endpoint_status", "endpoint_id", "status", "seq"),
    Index("ix_webhook_deliveries_hint_at_pending", "hint_at", postgresql_where=text("status = 'pending'")),
    Index("ix_webhook_deliveries_pause", "pause_id", "lane", "seq", postgresql_where=text("pause_id IS NOT NULL")),
    Index("ix_webhook_deliveries_lane_pending", "lane", "due_at", postgresql_where=text("status = 'pending'")),
    Index("ix_webhook_deliveries_leased", "lane", postgresql_where=text("lease_token IS NOT NULL")),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Uuid, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status_code", SmallInteger),
    Column("error", Text),
    Column("excerpt", Text),
    PrimaryKeyConstraint("delivery_id", "number"),
    CheckConstraint("outcome IN ('succeeded', 'failed', 'timed_out', 'blocked')", name="outcome"),
)

# The failures in a row of each lane whose last attempt failed. A foreign key to the endpoint would lock it after the
# delivery, but a deletion of an endpoint locks them in the opposite order.
webhook_failures = Table(
    "webhook_failures",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("endpoint_id", Uuid, index=True),
    Column("failures", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("failed_at", DateTime(timezone=True), nullable=False),
    Column("error", Text),
)


def delivery_of(row: RowMapping) -> Delivery:
    return Delivery(
        DeliveryStatus(row["status"]),
        row["attempts"],
        row["retry"],
        row["due_at"],
        row["last_error"],
        row["completed_at"],
    )


def delivery_values(delivery: Delivery) -> dict[str, Any]:
    """Return the columns that an attempt or a restart changes."""
    return {
        "status": str(delivery.status),
        "attempts": delivery.attempts,
        "retry": delivery.retry,
        "due_at": delivery.due_at,
        "last_error": delivery.last_error,
        "completed_at": delivery.completed_at,
    }


def health_of(row: RowMapping) -> Health:
    return Health(row["enabled"], row["failing_since"], row["disabled_reason"])


def health_values(health: Health) -> dict[str, Any]:
    return {
        "enabled": health.enabled,
        "failing_since": health.failing_since,
        "disabled_reason": health.disabled_reason,
    }
