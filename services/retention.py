"""Forget what has been kept long enough: ended sagas, resolved pauses, messages, idempotency keys, silent workers."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, delete, exists, select, tuple_

from domain.webhook import DeliveryStatus
from models.due import set_aside, worker_heartbeats
from models.keys import idempotency_keys
from models.pauses import pauses
from models.people import sessions, sign_in_failures, sign_in_links
from models.sagas import saga_steps, sagas
from models.webhooks import webhook_deliveries, webhook_messages, webhook_secrets
from services.sessions import IDLE
from services.sign_in_limits import WINDOW
from services.transaction import Store

# Twice the 24 h that repeats are promised to be recognised: a slow prune must never break the promise.
IDEMPOTENCY_KEPT = timedelta(hours=48)
# After what a request made has ended.
IDEMPOTENCY_KEPT_AFTER = timedelta(hours=24)
WORKERS_KEPT = timedelta(hours=1)
# Whoever opens an old message is still told which review it was about.
LINKS_KEPT = timedelta(days=30)
# Rows that one transaction deletes: it holds its locks for well under a second.
BATCH = 1_000


def prune(store: Store, retention: timedelta) -> dict[str, int]:
    """Delete everything past its time, in batches; returns how many rows of each table went."""
    with store.transaction() as tx:
        rules = _rules(tx.now, tx.now - retention)
    return {table.name: _delete(store, table, condition) for table, condition in rules}


def _rules(now: datetime, old: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    waiting = exists().where(
        webhook_deliveries.c.message_id == webhook_messages.c.id,
        webhook_deliveries.c.status == DeliveryStatus.PENDING,
    )
    held = exists().where(saga_steps.c.watch_id == pauses.c.id)
    return [
        # Its steps go with a saga; the pauses that held them stay as long as it does. One whose undo failed stays until
        # somebody has seen to it.
        (sagas, (sagas.c.ended_at < old) & ~sagas.c.needs_operator),
        (pauses, (pauses.c.resolved_at < old) & ~held),
        # Its deliveries and their attempts go with a message.
        (webhook_messages, (webhook_messages.c.created_at < old) & ~waiting),
        (webhook_secrets, webhook_secrets.c.retires_at < now),
        (idempotency_keys, (idempotency_keys.c.created_at < now - IDEMPOTENCY_KEPT) & ~_guards(now)),
        (sessions, (sessions.c.expires_at < now) | (sessions.c.seen_at < now - IDLE)),
        (sign_in_links, sign_in_links.c.expires_at < now - LINKS_KEPT),
        (sign_in_failures, sign_in_failures.c.since < now - WINDOW),
        (set_aside, set_aside.c.failed_at < now - WORKERS_KEPT * 24),
        (worker_heartbeats, worker_heartbeats.c.seen_at < now - WORKERS_KEPT),
    ]


def _guards(now: datetime) -> ColumnElement[bool]:
    """Of an idempotency key: what it made waits, or has until a moment ago. Repeated, it must not be made again."""
    columns, lately = idempotency_keys.c, now - IDEMPOTENCY_KEPT_AFTER
    paused = (pauses.c.id == columns.pause_id) & (pauses.c.resolved_at.is_(None) | (pauses.c.resolved_at > lately))
    runs = (sagas.c.id == columns.saga_id) & (sagas.c.ended_at.is_(None) | (sagas.c.ended_at > lately))
    return exists().where(paused) | exists().where(runs)


def _delete(store: Store, table: Table, condition: ColumnElement[bool]) -> int:
    key = list(table.primary_key.columns)
    chosen = select(*key).where(condition).limit(BATCH).with_for_update(skip_locked=True)
    total, deleted = 0, BATCH
    while deleted == BATCH:
        with store.transaction() as tx:
            deleted = tx.conn.execute(delete(table).where(tuple_(*key).in_(chosen))).rowcount
        total += deleted
    return total
