"""The worker's side of webhook deliveries: claim one that is due, and record the result of the attempt."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from domain.pauses.callbacks import FORMATS
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

# Deliveries of one namespace that may be under way to one receiver at once, over all workers. Without a limit a slow
# receiver would take every thread.
LANE_WIDTH = 10
# Claims of one process at once. Each holds a connection while it waits for its lane's lock. Without a limit a flood to
# one receiver would take the whole connection pool.
CLAIMS_AT_ONCE = 4
_claims = threading.BoundedSemaphore(CLAIMS_AT_ONCE)


@dataclass(frozen=True, slots=True)
class DeliveryJob:
    """A claimed delivery: what to post, and its lease. Each of the `secrets` signs the message.

    `format`: that of a callback whose body and headers are made at each attempt (`services.pauses.callbacks`).
    """

    lease: leases.Lease
    message_id: UUID
    url: str
    body: str
    headers: dict[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    pause_id: UUID | None = None
    format: str | None = None

    @property
    def method(self) -> str:
        known = FORMATS.get(self.format or "")
        return "POST" if known is None else known.method

    @property
    def is_repeated(self) -> bool:
        """Whether a failed attempt is followed by others."""
        known = FORMATS.get(self.format or "")
        return known is None or known.is_result


def claim_delivery(
    database: Database, id_: UUID, may_take: Callable[[str], bool] = lambda _: True
) -> DeliveryJob | None:
    """Claim a delivery. Return None if it is not due, done, leased, or behind an earlier one, or if its lane is full.

    `may_take`: whether this worker has room for a delivery of that namespace.
    """
    columns = webhook_deliveries.c
    turn = select(func.pg_advisory_xact_lock(func.hashtextextended(columns.lane, 0)), columns.namespace)
    with _claims, database.transaction() as uow:
        # Claims in one lane go one after another: simultaneous ones would each see room for themselves.
        free = turn.where(columns.id == id_, leases.claimable(webhook_deliveries), *_unobstructed())
        found = uow.conn.execute(free).one_or_none()
        if found is not None and not may_take(found.namespace):
            return None
        lease = None if found is None else leases.claim(uow, WEBHOOK, id_, *_unobstructed())
        if lease is None:
            leases.note_failed_wakeup(uow, WEBHOOK, id_)
            return None
        row = _addressed(uow, id_)
        if is_endpoints_lane(row.lane) and not row.enabled:
            # A killed worker held it when the endpoint was disabled, or it was sent again at that moment.
            reason = DELETED if row.endpoint_id is None or row.deleted_at is not None else DISABLED
            uow.conn.execute(update(webhook_deliveries).where(columns.id == id_).values(exhausted(uow, reason)))
            return None
        if row.moved_to is not None and row.moved_to != row.url:
            uow.conn.execute(update(webhook_deliveries).where(columns.id == id_).values(url=row.moved_to))
        return _job(uow, lease, row)


def record_attempt(
    database: Database, lease: leases.Lease, attempt: Attempt, schedule: Sequence[int], uniform: float
) -> bool:
    """Record an attempt. Return False, and drop its result, if another worker has taken over in the meantime.

    `schedule`: seconds to wait before each retry. `uniform`: a random number from 0 to 1, for the jitter.
    """
    columns = webhook_deliveries.c
    with database.transaction() as uow:
        held = columns.id == lease.id, columns.lease_token == lease.token
        addressee = select(columns.endpoint_id).where(*held).scalar_subquery()
        endpoint = _endpoint(uow, addressee)
        if endpoint is not None and health_after(health_of(endpoint), attempt, uow.now) != health_of(endpoint):
            # Lock the endpoint only for a change of its health: most attempts change nothing and must not wait for each
            # other. The endpoint is locked before the delivery everywhere, so that no deadlock is possible.
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
    """Wake deliveries that were overlooked; return how many.

    In each lane it wakes no more than may be under way: further claims would fail.
    """
    this = webhook_deliveries
    with database.transaction() as uow:
        missed = leases.overlooked(uow, this, spare_leased)
        # The first lane of each namespace, then the second of each, so that a long backlog does not delay the others.
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


# Made once: a new alias copies all columns of its table, which took a third of a worker's time.
_EARLIER = webhook_deliveries.alias("earlier")
_LEASED = webhook_deliveries.alias("leased")


@cache
def _unobstructed() -> tuple[ColumnElement[bool], ...]:
    return _in_turn(), _has_room(webhook_deliveries.c.lane)


def _in_turn() -> ColumnElement[bool]:
    """Return a condition: no earlier message about the same pause waits in the lane."""
    this, earlier = webhook_deliveries, _EARLIER
    # PostgreSQL would turn EXISTS into a join with the whole lane. The lane is compared as an expression: for a bare
    # column, without statistics, PostgreSQL would read the whole lane for each row.
    waits = (
        select(true())
        .where(earlier.c.pause_id == this.c.pause_id, earlier.c.lane.concat("") == this.c.lane)
        .where(earlier.c.seq < this.c.seq, earlier.c.status == DeliveryStatus.PENDING)
        .limit(1)
        .scalar_subquery()
    )
    # PostgreSQL estimates that "IS NULL" holds for one row in 200. It would then read and sort the whole lane for each
    # recorded attempt, although the first ten rows of the index are enough.
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
    """Read the delivery with its message, and with its endpoint if that still exists."""
    deliveries, messages, endpoints = webhook_deliveries.c, webhook_messages.c, webhook_endpoints.c
    joined = webhook_deliveries.join(webhook_messages, messages.id == deliveries.message_id).outerjoin(
        webhook_endpoints, endpoints.id == deliveries.endpoint_id
    )
    serves = or_(*(name == any_(endpoints.namespaces) for name in (deliveries.namespace, literal(ALL_NAMESPACES))))
    query = (
        select(deliveries.url, deliveries.endpoint_id, deliveries.namespace, deliveries.lane, messages.id)
        .add_columns(
            deliveries.pause_id,
            deliveries.format,
            messages.body,
            endpoints.headers,
            endpoints.enabled,
            endpoints.deleted_at,
        )
        # The endpoint's present URL, unless the endpoint no longer serves the delivery's namespace.
        .add_columns(case((serves, endpoints.url)).label("moved_to"))
        .select_from(joined)
        .where(deliveries.id == id_)
    )
    return uow.conn.execute(query).one()


def _job(uow: UnitOfWork, lease: leases.Lease, row: Row[Any]) -> DeliveryJob:
    owner = {"namespace": row.namespace} if row.endpoint_id is None else {"endpoint_id": row.endpoint_id}
    secrets, url = current(uow, **owner), row.moved_to or row.url
    return DeliveryJob(lease, row.id, url, row.body, row.headers or {}, secrets, row.pause_id, row.format)


def _endpoint(uow: UnitOfWork, id_: ScalarSelect[UUID | None], *, lock: bool = False) -> RowMapping | None:
    """Read the endpoint. The lock makes failures of simultaneous attempts count one by one; inserts do not wait."""
    query = select(webhook_endpoints).where(webhook_endpoints.c.id == id_)
    return uow.conn.execute(query.with_for_update(key_share=True) if lock else query).mappings().one_or_none()


def _health(endpoint: RowMapping | None, lane: str) -> Health:
    if endpoint is not None:
        return health_of(endpoint)
    # A callback has no health. A delivery to an endpoint that was deleted in the meantime gets no further attempt.
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
    """Wake the next message about the same pause, and others for the same receiver.

    Wake as many as the lane has room for. If each attempt woke only one, those that end together would wake the same.
    """
    columns = webhook_deliveries.c
    same_lane = columns.lane == done["lane"], *_unobstructed()
    if done["pause_id"] is not None:
        leases.wake_first(uow, WEBHOOK, 1, columns.pause_id == done["pause_id"], *same_lane)
    room = 0
    # An attempt that ends at the same moment may wake a row between the count and the query. Then its place is free
    # too, which only another count shows.
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
