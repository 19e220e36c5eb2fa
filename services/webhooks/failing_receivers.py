"""Failing receivers: how many attempts failed since the last success.

There is one row for each lane whose last attempt failed, and the first success deletes it. So the table stays small,
however many deliveries wait.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, Text, cast, delete, func, or_, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from domain.delivery.webhook import FAILING_AFTER, Attempt, AttemptOutcome
from domain.identity.access import Principal
from domain.pauses.serialization import instant
from models.webhooks import webhook_endpoints, webhook_failures
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.webhooks.outbox import is_endpoints_lane

# A page lists the receivers that have failed longest.
LIMIT = 20


def count_attempt(uow: UnitOfWork, delivery: RowMapping, attempt: Attempt) -> None:
    """Count an attempt. Call this last in a transaction: attempts that end together wait for each other here."""
    columns = webhook_failures.c
    endpoint_id, lane = delivery["endpoint_id"], delivery["lane"]
    if attempt.outcome is AttemptOutcome.SUCCEEDED:
        mine = columns.lane == lane if endpoint_id is None else columns.endpoint_id == endpoint_id
        uow.conn.execute(delete(webhook_failures).where(mine))
    elif endpoint_id is not None or not is_endpoints_lane(lane):
        first = {"failures": 1, "since": uow.now, "failed_at": uow.now, "error": attempt.error}
        row = insert(webhook_failures).values(
            lane=lane, namespace=delivery["namespace"], endpoint_id=endpoint_id, **first
        )
        again = {"failures": columns.failures + 1, "failed_at": uow.now, "error": attempt.error}
        uow.conn.execute(row.on_conflict_do_update(index_elements=[columns.lane], set_=again))


def forget(uow: UnitOfWork, endpoint_id: UUID) -> None:
    uow.conn.execute(delete(webhook_failures).where(webhook_failures.c.endpoint_id == endpoint_id))


def count_failing(by: Principal | None) -> Select[int]:
    """Count the failing receivers that the caller sees; None sees all."""
    return select(func.count()).select_from(_failing(by).subquery())


def list_failing(database: Database, by: Principal) -> list[dict[str, Any]]:
    """Return failing receivers, those that have failed longest first."""
    with database.reading() as conn:
        found = conn.execute(_failing(by).order_by(func.min(webhook_failures.c.since)).limit(LIMIT)).mappings()
        return [
            {
                # The lane of a callback begins with the origin.
                "url": row["url"] or row["lane"].partition(" ")[0],
                "namespaces": row["namespaces"],
                "failures": row["failures"],
                "since": instant(row["since"]),
                "error": row["errors"][0],
            }
            for row in found
        ]


def _failing(by: Principal | None) -> Select[Any]:
    """Select failing receivers. An endpoint's failures count together over all namespaces. Leave out disabled ones."""
    columns, endpoints = webhook_failures.c, webhook_endpoints.c
    own: ColumnElement[bool] = true() if by is None else sees(by, webhook_failures)
    receiver = func.coalesce(cast(columns.endpoint_id, Text), columns.lane)
    newest = func.array_agg(aggregate_order_by(columns.error, columns.failed_at.desc())).filter(own)
    shown: tuple[ColumnElement[Any], ...] = (
        func.min(columns.lane).label("lane"),
        func.min(endpoints.url).label("url"),
        func.array_agg(aggregate_order_by(columns.namespace, columns.namespace)).filter(own).label("namespaces"),
        func.sum(columns.failures).label("failures"),
        func.min(columns.since).label("since"),
        newest.label("errors"),
    )
    return (
        select(*shown)
        .select_from(webhook_failures.outerjoin(webhook_endpoints, endpoints.id == columns.endpoint_id))
        .where(or_(columns.endpoint_id.is_(None), endpoints.enabled))
        .group_by(receiver)
        .having(func.sum(columns.failures) >= FAILING_AFTER, func.bool_or(own))
    )
