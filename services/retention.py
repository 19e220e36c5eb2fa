"""Forget what has been kept long enough: resolved pauses, webhook messages, idempotency keys, silent workers."""

from datetime import timedelta

from sqlalchemy import ColumnElement, Table, delete, exists, select

from domain.webhook import DeliveryStatus
from models.due import worker_heartbeats
from models.keys import idempotency_keys
from models.pauses import pauses
from models.webhooks import webhook_deliveries, webhook_messages, webhook_secrets
from services.transaction import Store, Tx

# Twice the 24 h that repeats are promised to be recognised: a slow prune must never break the promise.
IDEMPOTENCY_KEPT = timedelta(hours=48)
WORKERS_KEPT = timedelta(hours=1)
# Rows that one transaction deletes: it holds its locks for well under a second.
BATCH = 1_000


def prune(store: Store, retention: timedelta) -> dict[str, int]:
    """Delete everything past its time, in batches; returns how many rows of each table went."""
    return {name: _prune_table(store, name, retention) for name in _RULES}


_RULES = ("pauses", "webhook_messages", "webhook_secrets", "idempotency_keys", "worker_heartbeats")


def _prune_table(store: Store, name: str, retention: timedelta) -> int:
    total = 0
    while True:
        with store.transaction() as tx:
            table, condition = _rule(tx, name, retention)
            key = list(table.primary_key.columns)
            chosen = select(*key).where(condition).limit(BATCH).with_for_update(skip_locked=True)
            found = tx.conn.execute(chosen).all()
            for row in found:
                tx.conn.execute(delete(table).where(*(column == value for column, value in zip(key, row, strict=True))))
        total += len(found)
        if len(found) < BATCH:
            return total


def _rule(tx: Tx, name: str, retention: timedelta) -> tuple[Table, ColumnElement[bool]]:
    old = tx.now - retention
    waiting = exists().where(
        webhook_deliveries.c.message_id == webhook_messages.c.id,
        webhook_deliveries.c.status == DeliveryStatus.PENDING,
    )
    rules: dict[str, tuple[Table, ColumnElement[bool]]] = {
        "pauses": (pauses, pauses.c.resolved_at < old),
        "webhook_messages": (webhook_messages, (webhook_messages.c.created_at < old) & ~waiting),
        "webhook_secrets": (webhook_secrets, webhook_secrets.c.retires_at < tx.now),
        "idempotency_keys": (idempotency_keys, idempotency_keys.c.created_at < tx.now - IDEMPOTENCY_KEPT),
        "worker_heartbeats": (worker_heartbeats, worker_heartbeats.c.seen_at < tx.now - WORKERS_KEPT),
    }
    return rules[name]
