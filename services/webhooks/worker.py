"""A worker's side of webhook deliveries: claim one that is due, and record what came of the attempt."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    RowMapping,
    ScalarSelect,
    any_,
    case,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)

from domain.delivery.webhook import Attempt, DeliveryStatus, Health, after_attempt, health_after
from domain.identity.access import ALL_NAMESPACES
from domain.log.audit import chain_of
from domain.values import ids
from models.webhooks import (
    delivery_of,
    delivery_values,
    health_of,
    health_values,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    webhook_messages,
)
from services.kernel import leases
from services.kernel.leases import WEBHOOK
from services.kernel.unit_of_work import Database, UnitOfWork
from services.webhooks.endpoints import DELETED, DISABLED, exhaust_waiting, exhausted
from services.webhooks.failing_receivers import count_attempt
from services.webhooks.outbox import is_endpoints_lane
from services.webhooks.signing import current

log = logging.getLogger(__name__)

# Deliveries of one namespace under way to one receiver at once, over all workers: a slow one must not take every
# thread there is.
LANE_WIDTH = 10


@dataclass(frozen=True, slots=True)
class DeliveryJob:
    """What to post, and under which lease. `secrets`: every one of them signs."""

    lease: leases.Lease
    message_id: UUID
    url: str
    body: str
    headers: dict[str, str]
    secrets: Sequence[str]


def claim_delivery(
    database: Database, id_: UUID, may_take: Callable[[str], bool] = lambda _: True
) -> DeliveryJob | None:
    """None when there is nothing to do: not due, done, under way, behind an earlier one, or its lane is full.

    `may_take`: whether this worker has room for one of that namespace.
    """
    columns = webhook_deliveries.c
    turn = select(func.pg_advisory_xact_lock(func.hashtextextended(columns.lane, 0)), columns.namespace)
    with database.transaction() as uow:
        # Claims in one lane go one after another: simultaneous ones would each see room for themselves.
        free = turn.where(columns.id == id_, leases.claimable(webhook_deliveries), *_unobstructed())
        found = uow.conn.execute(free).one_or_none()
        if found is not None and not may_take(found.namespace):
            return None
        lease = None if found is None else leases.claim(uow, WEBHOOK, id_, *_unobstructed())
        if lease is None:
            leases.wakeup_came_to_nothing(uow, WEBHOOK, id_)
            return None
        row = _addressed(uow, id_)
        if is_endpoints_lane(row.lane) and not row.enabled:
            # A worker that was killed had it when the endpoint was switched off, or it was sent again just then.
            reason = DELETED if row.endpoint_id is None or row.deleted_at is not None else DISABLED
            uow.conn.execute(update(webhook_deliveries).where(columns.id == id_).values(exhausted(uow, reason)))
            return None
        if row.moved_to is not None and row.moved_to != row.url:
            uow.conn.execute(update(webhook_deliveries).where(columns.id == id_).values(url=row.moved_to))
        return _job(uow, lease, row)


def record_attempt(
    database: Database, lease: leases.Lease, attempt: Attempt, schedule: Sequence[int], uniform: float
) -> bool:
    """False when another worker has taken over in the meantime: then this result is dropped.

    `schedule`: seconds to wait before each retry. `uniform`: a random number from 0 to 1, for the jitter.
    """
    columns = webhook_deliveries.c
    with database.transaction() as uow:
        held = columns.id == lease.id, columns.lease_token == lease.token
        addressee = select(columns.endpoint_id).where(*held).scalar_subquery()
        endpoint = _endpoint(uow, addressee)
        if endpoint is not None and health_after(health_of(endpoint), attempt, uow.now) != health_of(endpoint):
            # Only now: nearly all attempts change nothing, and those to one endpoint must not wait for each other. And
            # before the delivery, as when one is changed or deleted: two orders would be a deadlock.
            endpoint = _endpoint(uow, addressee, lock=True)
        row = uow.conn.execute(select(webhook_deliveries).where(*held).with_for_update()).mappings().one_or_none()
        if row is None:
            log.warning("dropped the result of a superseded attempt", extra={"delivery_id": str(lease.id)})
            return False
        health = _health(endpoint, row["lane"])
        after, healthy = after_attempt(delivery_of(row), attempt, health, schedule, uow.now, uniform)
        changes = delivery_values(after) | {"lease_token": None, "leased_until": None, "hint_at": after.due_at}
        uow.conn.execute(update(webhook_deliveries).where(columns.id == lease.id).values(changes))
        uow.conn.execute(insert(webhook_attempts).values(_attempt_row(lease.id, after.attempts, attempt)))
        if endpoint is not None and healthy != health:
            _record_health(uow, endpoint, health, healthy)
        _wake_next(uow, row)
        count_attempt(uow, row, attempt)
    return True


def sweep_deliveries(database: Database, *, spare_leased: bool = False) -> int:
    """Hint again at deliveries that were missed; returns how many.

    In each lane at no more than can be under way: more would only keep the workers busy with saying no.
    """
    this = webhook_deliveries
    with database.transaction() as uow:
        missed = leases.overlooked(uow, this, spare_leased)
        # The first lane of each namespace, then the second of each: one that floods is not in the others' way.
        longest = func.min(this.c.hint_at)
        turn = func.row_number().over(partition_by=this.c.namespace, order_by=longest).label("turn")
        waiting = select(this.c.lane, longest.label("since"), turn).where(missed)
        lanes = waiting.group_by(this.c.namespace, this.c.lane).subquery()
        first = (
            select(this.c.id)
            .where(this.c.lane == lanes.c.lane, missed, _in_turn())
            .order_by(this.c.due_at)
            .limit(LANE_WIDTH)
            .lateral()
        )
        of_each = select(first.c.id).select_from(lanes.join(first, true())).where(_has_room(lanes.c.lane))
        fairly = of_each.order_by(lanes.c.turn, lanes.c.since).limit(leases.SWEEP_LIMIT)
        return len(leases.wake_again(uow, WEBHOOK, uow.conn.execute(fairly).scalars().all()))


# Made once: each new alias of a table makes all its columns anew, which took a third of a worker's time.
_EARLIER = webhook_deliveries.alias("earlier")
_LEASED = webhook_deliveries.alias("leased")


@cache
def _unobstructed() -> tuple[ColumnElement[bool], ...]:
    return _in_turn(), _has_room(webhook_deliveries.c.lane)


def _in_turn() -> ColumnElement[bool]:
    """No earlier message about the same pause still waits in the lane."""
    this, earlier = webhook_deliveries, _EARLIER
    # Not as EXISTS, which would become a join with the whole lane; and the lane not as a bare column: in a table
    # without statistics yet PostgreSQL would go through all of it for each row, and not through the pause's few.
    waits = (
        select(true())
        .where(earlier.c.pause_id == this.c.pause_id, earlier.c.lane.concat("") == this.c.lane)
        .where(earlier.c.seq < this.c.seq, earlier.c.status == DeliveryStatus.PENDING)
        .limit(1)
        .scalar_subquery()
    )
    # Not "IS NULL", which PostgreSQL takes for one row in 200: it would look at the whole lane and sort it, for each
    # attempt that is recorded, where the first ten by the index are enough.
    return not_(func.coalesce(waits, false()))


def _has_room(lane: ColumnElement[str]) -> ColumnElement[bool]:
    return _under_way(lane) < LANE_WIDTH


def _under_way(lane: ColumnElement[str]) -> ScalarSelect[int]:
    return (
        select(func.count())
        .where(_LEASED.c.lane == lane, _LEASED.c.lease_token.is_not(None))
        .where(_LEASED.c.leased_until > func.clock_timestamp())
        .scalar_subquery()
    )


def _addressed(uow: UnitOfWork, id_: UUID) -> Row[Any]:
    """The delivery, with its message and what is left of its endpoint."""
    deliveries, messages, endpoints = webhook_deliveries.c, webhook_messages.c, webhook_endpoints.c
    joined = webhook_deliveries.join(webhook_messages, messages.id == deliveries.message_id).outerjoin(
        webhook_endpoints, endpoints.id == deliveries.endpoint_id
    )
    serves = or_(*(name == any_(endpoints.namespaces) for name in (deliveries.namespace, literal(ALL_NAMESPACES))))
    query = (
        select(deliveries.url, deliveries.endpoint_id, deliveries.namespace, deliveries.lane, messages.id)
        .add_columns(messages.body, endpoints.headers, endpoints.enabled, endpoints.deleted_at)
        # Where the endpoint is now; what was made for a namespace that it serves no more is not led there.
        .add_columns(case((serves, endpoints.url)).label("moved_to"))
        .select_from(joined)
        .where(deliveries.id == id_)
    )
    return uow.conn.execute(query).one()


def _job(uow: UnitOfWork, lease: leases.Lease, row: Row[Any]) -> DeliveryJob:
    owner = {"namespace": row.namespace} if row.endpoint_id is None else {"endpoint_id": row.endpoint_id}
    return DeliveryJob(lease, row.id, row.moved_to or row.url, row.body, row.headers or {}, current(uow, **owner))


def _endpoint(uow: UnitOfWork, id_: ScalarSelect[UUID | None], *, lock: bool = False) -> RowMapping | None:
    """Locked, the failures of simultaneous attempts count one after another; new deliveries do not wait."""
    query = select(webhook_endpoints).where(webhook_endpoints.c.id == id_)
    return uow.conn.execute(query.with_for_update(key_share=True) if lock else query).mappings().one_or_none()


def _health(endpoint: RowMapping | None, lane: str) -> Health:
    if endpoint is not None:
        return health_of(endpoint)
    # Nobody counts the failures of a callback. To an endpoint that was deleted meanwhile this attempt was the last.
    return Health(enabled=not is_endpoints_lane(lane))


def _record_health(uow: UnitOfWork, endpoint: RowMapping, before: Health, after: Health) -> None:
    endpoint_id = endpoint["id"]
    uow.conn.execute(
        update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id).values(health_values(after))
    )
    if before.enabled and not after.enabled:
        exhaust_waiting(uow, endpoint_id, f"the endpoint was disabled: {after.disabled_reason}")
        subject = ids.text(ids.ENDPOINT, endpoint_id)
        uow.record(None, chain_of(endpoint["namespaces"]), "endpoint.disabled", subject, reason=after.disabled_reason)
        log.error(
            "webhook endpoint disabled: an operator must look at it, enable it, and recover what it missed",
            extra={"endpoint_id": str(endpoint_id), "reason": after.disabled_reason},
        )


def _wake_next(uow: UnitOfWork, done: RowMapping) -> None:
    """What this attempt's end lets go: the next message about the same pause, and others for the same receiver.

    As many as the lane has room for, not one: of attempts that end at the same moment, each would name the same one.
    """
    columns = webhook_deliveries.c
    same_lane = columns.lane == done["lane"], *_unobstructed()
    if done["pause_id"] is not None:
        leases.wake_first(uow, WEBHOOK, 1, columns.pause_id == done["pause_id"], *same_lane)
    room = 0
    # An attempt that ends at the same moment may have named a row between the count and the look. Then its own place
    # is free too, which only another count shows.
    while (counted := _room(uow, done["lane"])) > room:
        room = counted
        if not leases.wake_first(uow, WEBHOOK, room, *same_lane):
            return


def _room(uow: UnitOfWork, lane: str) -> int:
    return LANE_WIDTH - uow.conn.execute(select(_under_way(literal(lane)))).scalar_one()


def _attempt_row(delivery_id: UUID, number: int, attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "number": number,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "outcome": str(attempt.outcome),
        "status_code": attempt.status_code,
        "error": attempt.error,
        "excerpt": attempt.excerpt,
    }
