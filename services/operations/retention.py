"""Delete what is past its retention: ended sagas, resolved pauses, webhook messages, idempotency keys, old sessions."""

import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, delete, exists, select, tuple_

from domain.delivery.webhook import DeliveryStatus
from models.keys import idempotency_keys
from models.leases import set_aside, worker_heartbeats
from models.pauses import pauses
from models.people import sessions, sign_in_failures, sign_in_links
from models.retention import retention_rules
from models.sagas import saga_steps, sagas
from models.webhooks import webhook_deliveries, webhook_failures, webhook_messages, webhook_secrets
from services.identity.login_throttle import LONGEST_WINDOW
from services.identity.sessions import IDLE
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, UnitOfWork
from services.operations.retention_rules import DELETIONS, kept_by_rule, shortest

# Twice the promised 24 h, so that a slow prune never breaks the promise.
IDEMPOTENCY_KEPT = timedelta(hours=48)
# Counted from the end of the pause or saga that the request made.
IDEMPOTENCY_KEPT_AFTER = timedelta(hours=24)
WORKERS_KEPT = timedelta(hours=1)
# Longer than the longest wait between two attempts: by then no delivery waits for that receiver.
FAILURES_KEPT = timedelta(days=1)
# Longer than the longest time that a row is set aside.
SET_ASIDE_KEPT = timedelta(days=1)
# A link in an old message still leads to a page that names the review.
LINKS_KEPT = timedelta(days=30)
# Rows that one transaction reads. It then holds its locks for well under a second; a batch that takes too long shrinks.
BATCH = 1_000
# Seconds from the start of one pass to the start of the next.
PASS_EVERY = 3_600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which rows of one table to delete.

    Attributes:
        age: an indexed column. Rows older than `before` are read, the oldest first. None for a small table.
        unless: rows to keep, however old they are.
        condition: rows to delete, for a table without `age`.
    """

    table: Table
    age: Column[datetime] | None = None
    before: datetime | None = None
    unless: ColumnElement[bool] | None = None
    condition: ColumnElement[bool] | None = None


@dataclass(slots=True)
class _Scan:
    """One rule's place in a pass: `last_seen` is the age and key of the last row that a batch has read."""

    rule: _Rule
    size: int
    last_seen: tuple[Any, ...] | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The rows that one call deleted, by table, and the tables that the pass has not finished."""

    deleted: dict[str, int]
    unfinished: list[str]


class Pruner:
    """Deletes old rows in passes. A pass visits every rule, in as many calls as that takes.

    The place in each table is kept between calls, so a pass reads a row that stays only once. It is kept in memory:
    each process makes its own passes, and a restarted one begins again.
    """

    def __init__(self, database: Database, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._running = threading.Lock()
        self._scans: deque[_Scan] = deque()
        self._next_pass = float("-inf")

    def run(self, seconds: float) -> PruneReport:
        """Delete until the pass is finished or `seconds` are over. The last batch may outlast them by its timeouts.

        Do nothing while another thread runs, or until the next pass is due.
        A rule that fails is tried again in the next pass; its error is raised once the other rules had their turns.
        """
        if not self._running.acquire(blocking=False):
            return PruneReport({}, [])
        try:
            return self._run(time.monotonic() + seconds)
        finally:
            self._running.release()

    def _run(self, until: float) -> PruneReport:
        if not self._scans and time.monotonic() >= self._next_pass:
            self._begin_pass()
        deleted = Counter({scan.rule.table.name: 0 for scan in self._scans})
        failed: Exception | None = None
        while self._scans:
            scan = self._scans[0]
            try:
                deleted[scan.rule.table.name] += self._delete_batch(scan)
            except Exception as error:
                if not self._shrink(scan, error):
                    extra = {"table": scan.rule.table.name}
                    log.error("old rows could not be deleted, the next pass tries again: %s", error, extra=extra)
                    scan.finished, failed = True, error
            # One batch of each table in turn: a long table does not delay the others.
            self._scans.popleft()
            if not scan.finished:
                self._scans.append(scan)
            if time.monotonic() >= until:
                break
        if failed is not None:
            raise failed
        return PruneReport(dict(deleted), [scan.rule.table.name for scan in self._scans])

    def _begin_pass(self) -> None:
        decisions, messages = (
            shortest(self._database, column, self._retention)
            for column in (retention_rules.c.decision_days, retention_rules.c.message_days)
        )
        with self._database.transaction() as uow:
            rules = _rules(uow.now, self._retention, uow.now - decisions, uow.now - messages)
        self._scans.extend(_Scan(rule, BATCH) for rule in rules)
        self._next_pass = time.monotonic() + PASS_EVERY

    def _delete_batch(self, scan: _Scan) -> int:
        with self._database.transaction() as uow:
            if scan.rule.age is None:
                deleted = _delete_matching(uow, scan.rule, scan.size)
                found = deleted
                last_seen = None
            else:
                uow.take_advisory_lock(DELETIONS, shared=True)
                batch = uow.conn.execute(oldest(scan.rule, scan.last_seen, scan.size)).all()
                deleted = _delete(uow, scan.rule, [tuple(row)[1:] for row in batch])
                found = len(batch)
                last_seen = tuple(batch[-1]) if batch else None
        # Only after the commit: a batch that was rolled back is read again.
        scan.last_seen, scan.finished = last_seen, found < scan.size
        return deleted

    @staticmethod
    def _shrink(scan: _Scan, error: Exception) -> bool:
        """Return whether a smaller batch may succeed. Raise `error` again when the database is away for all."""
        if not isinstance(error, DatabaseUnavailable):
            return False
        if not error.may_be_a_rows:
            raise error
        if scan.size == 1:
            return False
        scan.size = max(1, scan.size // 10)
        return True


def _rules(now: datetime, retention: timedelta, old: datetime, old_message: datetime) -> list[_Rule]:
    """Return the rules. `old`, `old_message`: before these, a namespace may no longer keep its rows.

    The rules and holds of the namespaces are read with each batch, so that a new legal hold counts at once.
    """
    decision, message = retention_rules.c.decision_days, retention_rules.c.message_days
    kept_saga = kept_by_rule(sagas, sagas.c.ended_at, decision, retention)
    kept_pause = kept_by_rule(pauses, pauses.c.resolved_at, decision, retention)
    kept_message = kept_by_rule(webhook_messages, webhook_messages.c.created_at, message, retention)
    waiting = exists().where(
        webhook_deliveries.c.message_id == webhook_messages.c.id,
        webhook_deliveries.c.status == DeliveryStatus.PENDING,
    )
    held = exists().where(saga_steps.c.watch_id == pauses.c.id)
    return [
        # A saga's steps go with it, and their pauses stay as long as it does. A saga whose compensation failed stays
        # until an operator has resolved it.
        _Rule(sagas, sagas.c.ended_at, old, unless=sagas.c.needs_operator | kept_saga),
        # A used approval stays until its outcome is reported, or its absence is.
        _Rule(pauses, pauses.c.resolved_at, old, unless=held | pauses.c.outcome_due_at.is_not(None) | kept_pause),
        # The deliveries of a message and their attempts go with it.
        _Rule(webhook_messages, webhook_messages.c.created_at, old_message, unless=waiting | kept_message),
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
    """The key's pause or saga is open, or ended only lately: repeating the request must not make a second one."""
    columns, lately = idempotency_keys.c, now - IDEMPOTENCY_KEPT_AFTER
    paused = (pauses.c.id == columns.pause_id) & (pauses.c.resolved_at.is_(None) | (pauses.c.resolved_at > lately))
    runs = (sagas.c.id == columns.saga_id) & (sagas.c.ended_at.is_(None) | (sagas.c.ended_at > lately))
    return exists().where(paused) | exists().where(runs)


def _delete_matching(uow: UnitOfWork, rule: _Rule, size: int) -> int:
    assert rule.condition is not None, "a rule has an age or a condition"
    key = list(rule.table.primary_key.columns)
    chosen = select(*key).where(rule.condition).limit(size).with_for_update(skip_locked=True)
    return uow.conn.execute(delete(rule.table).where(tuple_(*key).in_(chosen))).rowcount


def oldest(rule: _Rule, last_seen: tuple[Any, ...] | None, size: int) -> Select[Any]:
    """Select the age and the key of the oldest rows after `last_seen`."""
    assert rule.age is not None, "only a rule with an age is read in order"
    order = (rule.age, *rule.table.primary_key.columns)
    found = select(*order).where(rule.age < rule.before).order_by(*order).limit(size)
    # The first condition is the one that enters the index.
    return found if last_seen is None else found.where(rule.age >= last_seen[0], tuple_(*order) > tuple_(*last_seen))


def _delete(uow: UnitOfWork, rule: _Rule, keys: list[tuple[Any, ...]]) -> int:
    if not keys:
        return 0
    assert rule.age is not None, "only a rule with an age is read in order"
    key = list(rule.table.primary_key.columns)
    # The age is checked again: an operator may have resumed a failed saga in the meantime.
    chosen = select(*key).where(tuple_(*key).in_(keys), rule.age < rule.before)
    if rule.unless is not None:
        chosen = chosen.where(~rule.unless)
    return uow.conn.execute(
        delete(rule.table).where(tuple_(*key).in_(chosen.with_for_update(skip_locked=True)))
    ).rowcount
