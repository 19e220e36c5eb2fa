"""Forget what has been kept long enough: ended sagas, resolved pauses, messages, idempotency keys, silent workers."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, delete, exists, select, tuple_

from domain.delivery.webhook import DeliveryStatus
from models.keys import idempotency_keys
from models.leases import set_aside, worker_heartbeats
from models.pauses import pauses
from models.people import sessions, sign_in_failures, sign_in_links
from models.sagas import saga_steps, sagas
from models.webhooks import webhook_deliveries, webhook_failures, webhook_messages, webhook_secrets
from services.identity.login_throttle import LONGEST_WINDOW
from services.identity.sessions import IDLE
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, UnitOfWork

# Twice the 24 h that repeats are promised to be recognised: a slow prune must never break the promise.
IDEMPOTENCY_KEPT = timedelta(hours=48)
# After what a request made has ended.
IDEMPOTENCY_KEPT_AFTER = timedelta(hours=24)
WORKERS_KEPT = timedelta(hours=1)
# Longer than between two attempts: nothing waits for that receiver any more.
FAILURES_KEPT = timedelta(days=1)
# Longer than any of them is left alone.
SET_ASIDE_KEPT = timedelta(days=1)
# Whoever opens an old message is still told which review it was about.
LINKS_KEPT = timedelta(days=30)
# Rows that one transaction looks at: it holds its locks for well under a second. Fewer where that takes too long.
BATCH = 1_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What goes from one table.

    Attributes:
        age: indexed; what is older than `before` is looked at, the oldest first. None: all rows are few.
        unless: what stays however old it is.
        condition: where there is no age.
    """

    table: Table
    age: Column[datetime] | None = None
    before: datetime | None = None
    unless: ColumnElement[bool] | None = None
    condition: ColumnElement[bool] | None = None


def prune(database: Database, retention: timedelta) -> dict[str, int]:
    """Delete everything past its time, in batches; returns how many rows of each table went.

    A rule that fails is not in the way of the others. Raises what the last of them has raised.
    """
    with database.transaction() as uow:
        rules = _rules(uow.now, uow.now - retention)
    gone: dict[str, int] = {}
    failed: Exception | None = None
    for rule in rules:
        try:
            gone[rule.table.name] = _few(database, rule) if rule.age is None else _by_age(database, rule)
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and not error.may_be_a_rows:
                raise
            log.error("old rows could not be deleted, the next prune tries again: %s", error, extra=_of(rule))
            failed = error
    if failed is not None:
        raise failed
    return gone


def _of(rule: _Rule) -> dict[str, str]:
    return {"table": rule.table.name}


def _rules(now: datetime, old: datetime) -> list[_Rule]:
    waiting = exists().where(
        webhook_deliveries.c.message_id == webhook_messages.c.id,
        webhook_deliveries.c.status == DeliveryStatus.PENDING,
    )
    held = exists().where(saga_steps.c.watch_id == pauses.c.id)
    return [
        # Its steps go with a saga; the pauses that held them stay as long as it does. One whose undo failed stays until
        # somebody has seen to it.
        _Rule(sagas, sagas.c.ended_at, old, unless=sagas.c.needs_operator),
        _Rule(pauses, pauses.c.resolved_at, old, unless=held),
        # Its deliveries and their attempts go with a message.
        _Rule(webhook_messages, webhook_messages.c.created_at, old, unless=waiting),
        _Rule(webhook_secrets, condition=webhook_secrets.c.retires_at < now),
        _Rule(idempotency_keys, idempotency_keys.c.created_at, now - IDEMPOTENCY_KEPT, unless=_guards(now)),
        _Rule(sessions, condition=(sessions.c.expires_at < now) | (sessions.c.seen_at < now - IDLE)),
        _Rule(sign_in_links, condition=sign_in_links.c.expires_at < now - LINKS_KEPT),
        _Rule(sign_in_failures, condition=sign_in_failures.c.since < now - LONGEST_WINDOW),
        _Rule(webhook_failures, condition=webhook_failures.c.failed_at < now - FAILURES_KEPT),
        _Rule(set_aside, set_aside.c.failed_at, now - SET_ASIDE_KEPT),
        _Rule(worker_heartbeats, condition=worker_heartbeats.c.seen_at < now - WORKERS_KEPT),
    ]


def _guards(now: datetime) -> ColumnElement[bool]:
    """Of an idempotency key: what it made waits, or has until a moment ago. Repeated, it must not be made again."""
    columns, lately = idempotency_keys.c, now - IDEMPOTENCY_KEPT_AFTER
    paused = (pauses.c.id == columns.pause_id) & (pauses.c.resolved_at.is_(None) | (pauses.c.resolved_at > lately))
    runs = (sagas.c.id == columns.saga_id) & (sagas.c.ended_at.is_(None) | (sagas.c.ended_at > lately))
    return exists().where(paused) | exists().where(runs)


def _few(database: Database, rule: _Rule) -> int:
    assert rule.condition is not None, "without an age there is a condition"
    key = list(rule.table.primary_key.columns)
    chosen = select(*key).where(rule.condition).limit(BATCH).with_for_update(skip_locked=True)
    total, deleted = 0, BATCH
    while deleted == BATCH:
        with database.transaction() as uow:
            deleted = uow.conn.execute(delete(rule.table).where(tuple_(*key).in_(chosen))).rowcount
        total += deleted
    return total


def _by_age(database: Database, rule: _Rule) -> int:
    """The oldest first, by the index. What stays is passed over once, not looked at again with each batch."""
    total, size = 0, BATCH
    seen: tuple[Any, ...] | None = None
    while True:
        try:
            with database.transaction() as uow:
                batch = uow.conn.execute(oldest(rule, seen, size)).all()
                total += _delete(uow, rule, [tuple(row)[1:] for row in batch])
        except DatabaseUnavailable as error:
            if size == 1 or not error.may_be_a_rows:
                raise
            size = max(1, size // 10)
            continue
        if len(batch) < size:
            return total
        seen = tuple(batch[-1])


def oldest(rule: _Rule, seen: tuple[Any, ...] | None, size: int) -> Select[Any]:
    """The age and the key of the next ones."""
    assert rule.age is not None, "its index is the way to them"
    order = (rule.age, *rule.table.primary_key.columns)
    found = select(*order).where(rule.age < rule.before).order_by(*order).limit(size)
    # The first condition is what the index can be entered with.
    return found if seen is None else found.where(rule.age >= seen[0], tuple_(*order) > tuple_(*seen))


def _delete(uow: UnitOfWork, rule: _Rule, keys: list[tuple[Any, ...]]) -> int:
    if not keys:
        return 0
    assert rule.age is not None, "by which these were found"
    key = list(rule.table.primary_key.columns)
    # Looked at again: a failed saga that an operator goes on with has not ended any more.
    chosen = select(*key).where(tuple_(*key).in_(keys), rule.age < rule.before)
    if rule.unless is not None:
        chosen = chosen.where(~rule.unless)
    return uow.conn.execute(
        delete(rule.table).where(tuple_(*key).in_(chosen.with_for_update(skip_locked=True)))
    ).rowcount
