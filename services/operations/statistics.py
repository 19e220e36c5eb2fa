"""Statistics for the charts: waiting pauses, decisions and their speed, webhook deliveries.

Each reads a window of days by an index. A short timeout keeps charts from delaying decisions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, extract, func, select, text

from domain.identity.access import Principal
from domain.pauses.pause import SYSTEM, Status
from domain.values import ids
from models.pauses import pauses
from models.webhooks import webhook_attempts, webhook_deliveries
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.operations.recent_counts import RecentCounts

DAYS = 14
# The lower bounds of the age groups in the bar of a namespace.
AGES = (timedelta(0), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=24))
# Namespaces with the longest queues. A chart with a hundred bars would be unreadable.
MAX_NAMESPACES = 12
STATEMENT_TIMEOUT = "3s"


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """The queue of a namespace. `counts`: how many pauses wait, by `AGES`."""

    namespace: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def oldest(self) -> int:
        """The number of pauses that have waited longer than the last of `AGES`."""
        return self.counts[-1]


@dataclass(frozen=True, slots=True)
class DecisionDay:
    """The pauses resolved on a day (UTC). `p50` and `p95` are seconds until a person decided, or None."""

    day: date
    approved: int = 0
    rejected: int = 0
    expired: int = 0
    cancelled: int = 0
    p50: float | None = None
    p95: float | None = None

    @property
    def total(self) -> int:
        return self.approved + self.rejected + self.expired + self.cancelled


@dataclass(frozen=True, slots=True)
class WebhookDay:
    """Deliveries created on a day (UTC). `p95`: the duration of that day's attempts in seconds, or None."""

    day: date
    delivered: int = 0
    exhausted: int = 0
    pending: int = 0
    p95: float | None = None

    @property
    def total(self) -> int:
        return self.delivered + self.exhausted + self.pending


def waiting(database: Database, by: Principal) -> list[QueueStatistics]:
    """The namespaces with most to decide, the first one first."""
    columns = pauses.c
    with _reading(database) as uow:
        # Ids sort by time. Like the namespace they are in the index of waiting pauses, so no row is read.
        starts = [ids.uuid7(uow.now - age, 0) for age in AGES[1:]]
        groups = [
            columns.id >= starts[0],
            *(and_(columns.id >= start, columns.id < end) for end, start in pairwise(starts)),
            columns.id < starts[-1],
        ]
        counts = [func.count().filter(group).label(f"age_{place}") for place, group in enumerate(groups)]
        query = (
            select(columns.namespace, *counts)
            .where(columns.status == "pending", sees(by, pauses))
            .group_by(columns.namespace)
            .order_by(func.count().desc(), columns.namespace)
            .limit(MAX_NAMESPACES)
        )
        return [QueueStatistics(row[0], tuple(row[1:])) for row in uow.conn.execute(query)]


def decisions(database: Database, by: Principal) -> list[DecisionDay]:
    """Return the decisions of the last days, the oldest first. Days without a decision are included."""
    columns = pauses.c
    seconds = extract("epoch", columns.resolved_at - columns.created_at)
    by_person = columns.status.in_([Status.APPROVED, Status.REJECTED]) & (columns.decided_by != SYSTEM)
    outcomes = (Status.APPROVED, Status.REJECTED, Status.EXPIRED, Status.CANCELLED)
    with _reading(database) as uow:
        since = _since(uow)
        day = _day(columns.resolved_at)
        query = (
            select(
                day.label("day"),
                *(func.count().filter(columns.status == outcome).label(str(outcome)) for outcome in outcomes),
                func.percentile_cont(0.5).within_group(seconds).filter(by_person).label("p50"),
                func.percentile_cont(0.95).within_group(seconds).filter(by_person).label("p95"),
            )
            .where(columns.resolved_at >= since, sees(by, pauses))
            .group_by(day)
        )
        found = {row["day"]: DecisionDay(**row) for row in uow.conn.execute(query).mappings()}
    return [found.get(each, DecisionDay(each)) for each in _days(since)]


def webhooks(database: Database, by: Principal) -> list[WebhookDay]:
    """Return the deliveries of the last days, the oldest first. Days without a delivery are included."""
    delivery, attempt = webhook_deliveries.c, webhook_attempts.c
    statuses = ("delivered", "exhausted", "pending")
    with _reading(database) as uow:
        since = _since(uow)
        # Ids sort by time, and the primary keys are the only indexes that do.
        first = ids.uuid7(since, 0)
        made, tried = _day(delivery.created_at), _day(attempt.started_at)
        seconds = attempt.duration_ms / 1000.0
        deliveries = (
            select(
                made.label("day"),
                *(func.count().filter(delivery.status == status).label(status) for status in statuses),
            )
            .where(delivery.id >= first, sees(by, webhook_deliveries))
            .group_by(made)
        )
        attempts = (
            select(tried.label("day"), func.percentile_cont(0.95).within_group(seconds).label("p95"))
            .join_from(webhook_attempts, webhook_deliveries, delivery.id == attempt.delivery_id)
            .where(attempt.delivery_id >= first, delivery.id >= first, sees(by, webhook_deliveries))
            .group_by(tried)
        )
        counts: dict[date, Any] = {row["day"]: dict(row) for row in uow.conn.execute(deliveries).mappings()}
        p95 = {row["day"]: row["p95"] for row in uow.conn.execute(attempts).mappings()}
    return [WebhookDay(**counts.get(each, {"day": each}), p95=p95.get(each)) for each in _days(since)]


class Statistics:
    """The statistics of each chart, for callers of any namespaces. A page and its pictures share a slow count."""

    def __init__(self, database: Database) -> None:
        self.waiting = RecentCounts(database, waiting)
        self.decisions = RecentCounts(database, decisions)
        self.webhooks = RecentCounts(database, webhooks)


@contextmanager
def _reading(database: Database) -> Iterator[UnitOfWork]:
    with database.transaction() as uow:
        uow.conn.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
        yield uow


def _since(uow: UnitOfWork) -> datetime:
    midnight = uow.now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=DAYS - 1)


def _days(since: datetime) -> Sequence[date]:
    return [since.date() + timedelta(days=number) for number in range(DAYS)]


def _day(moment: Column[Any]) -> ColumnElement[date]:
    # Connections have UTC as their time zone.
    return func.date(moment)
