"""An operator's use cases for webhook deliveries: list, send again, recover an endpoint after an outage."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, literal_column, select, update

from domain.delivery.webhook import DeliveryStatus, restart
from domain.identity.access import Principal
from domain.log.audit import chain_of
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.errors import EndpointDisabled, NotFound
from models.webhooks import delivery_values, webhook_attempts, webhook_deliveries, webhook_endpoints, webhook_messages
from services.kernel.leases import WAKEUP_GRACE, WEBHOOK
from services.kernel.pagination import Listing, Page, Slice, in_namespaces, list_page
from services.kernel.tenancy import manages, seen_namespaces, sees, within
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp
from services.webhooks.outbox import is_endpoints_lane

# Deliveries that one recovery restarts. It returns how many, and the caller repeats it for more.
RECOVER_LIMIT = 10_000
# Wake-ups on the commit; the sweep wakes the others.
WOKEN = 500
_ENDPOINT_DELETED = "the webhook endpoint was deleted: there is no receiver any more"


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    status: DeliveryStatus | None = None
    namespace: str | None = None
    endpoint_id: str | None = None
    watch_id: str | None = None
    type: str | None = None


def list_deliveries(database: Database, by: Principal, wanted: DeliveryFilter, page: Page) -> Slice[dict[str, Any]]:
    """Newest first."""
    columns, namespaces = webhook_deliveries.c, seen_namespaces(by, wanted.namespace)
    filters, bounds = _conditions(wanted), []
    branches = in_namespaces(webhook_deliveries, namespaces)
    if wanted.watch_id is not None:
        pause_id = ids.parse(ids.WATCH, wanted.watch_id)
        branches, bounds = [columns.pause_id == pause_id], [*within(webhook_deliveries, namespaces), *filters]
        filters = []
    elif wanted.status in (DeliveryStatus.PENDING, DeliveryStatus.EXHAUSTED):
        # The partial index has the namespace of each row. A literal, because it serves only known values.
        branches = [columns.status == literal_column(f"'{wanted.status}'")]
        bounds = within(webhook_deliveries, namespaces)
    listing = Listing(_deliveries(), (columns.id,), branches, bounds, filters)
    return list_page(database, listing, page, _document)


def get_delivery(database: Database, by: Principal, delivery_id: str) -> dict[str, Any]:
    """Return the delivery with all its attempts, the earliest first."""
    id_ = ids.parse(ids.DELIVERY, delivery_id)
    attempts = select(webhook_attempts).where(webhook_attempts.c.delivery_id == id_)
    query = _deliveries().where(webhook_deliveries.c.id == id_, sees(by, webhook_deliveries))
    with database.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no delivery {delivery_id[:64]!r} that this key may see")
        made = conn.execute(attempts.order_by(webhook_attempts.c.number)).mappings().all()
    return _document(row) | {"attempts_made": [_attempt_document(attempt) for attempt in made]}


def redeliver(database: Database, by: Principal, delivery_id: str) -> dict[str, Any]:
    """Send the delivery again now, with the same webhook-id and the whole retry schedule."""
    id_ = ids.parse(ids.DELIVERY, delivery_id)
    with database.transaction() as uow:
        wanted = webhook_deliveries.c.id == id_, sees(by, webhook_deliveries)
        query = select(webhook_deliveries).where(*wanted).with_for_update()
        row = uow.conn.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no delivery {delivery_id[:64]!r} that this key may see")
        if row["endpoint_id"] is not None:
            found = select(webhook_endpoints).where(webhook_endpoints.c.id == row["endpoint_id"])
            endpoint = uow.conn.execute(found).mappings().one()
            if endpoint["deleted_at"] is not None:
                raise EndpointDisabled(_ENDPOINT_DELETED)
            url = _url_if_enabled(endpoint)
        elif is_endpoints_lane(row["lane"]):
            raise EndpointDisabled(_ENDPOINT_DELETED)
        else:
            url = row["url"]
        if row["lease_token"] is None:
            _restart(uow, row, url)
            uow.record(by, row["namespace"], "delivery.redelivered", delivery_id)
        return _document(uow.conn.execute(_deliveries().where(webhook_deliveries.c.id == id_)).mappings().one())


def recover(database: Database, by: Principal, endpoint_id: str, since: datetime) -> int:
    """Send an endpoint all exhausted deliveries since then; return how many there are."""
    id_ = ids.parse(ids.ENDPOINT, endpoint_id)
    columns = webhook_deliveries.c
    with database.transaction() as uow:
        there = webhook_endpoints.c.id == id_, webhook_endpoints.c.deleted_at.is_(None)
        query = select(webhook_endpoints).where(*there, manages(by, webhook_endpoints))
        endpoint = uow.conn.execute(query.with_for_update(key_share=True, read=True)).mappings().one_or_none()
        if endpoint is None:
            raise NotFound(f"there is no webhook endpoint {endpoint_id[:64]!r} that this key may see")
        url = _url_if_enabled(endpoint)
        lost = (
            select(columns.id)
            .where(columns.endpoint_id == id_, columns.status == DeliveryStatus.EXHAUSTED, columns.created_at >= since)
            # The endpoint may have served namespaces that the caller does not see.
            .where(sees(by, webhook_deliveries))
            .order_by(columns.seq)
            .limit(RECOVER_LIMIT)
            .with_for_update(skip_locked=True)
        )
        found = uow.conn.execute(lost).scalars().all()
        # One statement for all, so that the endpoint is locked only briefly.
        again = {name: value for name, value in delivery_values(restart(uow.now, 0)).items() if name != "attempts"}
        restarted = update(webhook_deliveries).where(columns.id.in_(found))
        uow.conn.execute(restarted.values({**again, "url": url, "hint_at": uow.now + WAKEUP_GRACE}))
        uow.wakeups.extend(WakeUp(WEBHOOK, each) for each in found[:WOKEN])
        said = {"since": instant(since), "deliveries": len(found)}
        uow.record(by, chain_of(endpoint["namespaces"]), "endpoint.recovered", endpoint_id, **said)
    return len(found)


def _url_if_enabled(endpoint: RowMapping) -> str:
    if not endpoint["enabled"]:
        raise EndpointDisabled
    return str(endpoint["url"])


def _restart(uow: UnitOfWork, row: RowMapping, url: str) -> None:
    """Make the delivery due. `url`: the receiver's present URL, which may differ from the one that failed."""
    again = delivery_values(restart(uow.now, row["attempts"])) | {"url": url, "hint_at": uow.now + WAKEUP_GRACE}
    uow.conn.execute(update(webhook_deliveries).where(webhook_deliveries.c.id == row["id"]).values(again))
    uow.wakeups.append(WakeUp(WEBHOOK, row["id"]))


def _deliveries() -> Any:
    message = webhook_messages.c
    joined = webhook_deliveries.join(webhook_messages, message.id == webhook_deliveries.c.message_id)
    return select(webhook_deliveries, message.type).select_from(joined)


def _conditions(wanted: DeliveryFilter) -> list[ColumnElement[bool]]:
    columns = webhook_deliveries.c
    conditions = []
    if wanted.status is not None and (wanted.status == DeliveryStatus.DELIVERED or wanted.watch_id is not None):
        conditions.append(columns.status == wanted.status)
    if wanted.endpoint_id is not None:
        conditions.append(columns.endpoint_id == ids.parse(ids.ENDPOINT, wanted.endpoint_id))
    if wanted.type is not None:
        conditions.append(webhook_messages.c.type == wanted.type)
    return conditions


def _document(row: RowMapping) -> dict[str, Any]:
    pending = row["status"] == DeliveryStatus.PENDING
    return {
        "id": ids.text(ids.DELIVERY, row["id"]),
        "webhook_id": ids.text(ids.MESSAGE, row["message_id"]),
        "type": row["type"],
        "namespace": row["namespace"],
        "watch_id": None if row["pause_id"] is None else ids.text(ids.WATCH, row["pause_id"]),
        "endpoint_id": None if row["endpoint_id"] is None else ids.text(ids.ENDPOINT, row["endpoint_id"]),
        "url": row["url"],
        "status": row["status"],
        "attempts": row["attempts"],
        "last_error": row["last_error"],
        "created_at": instant(row["created_at"]),
        "next_attempt_at": instant(row["due_at"]) if pending else None,
        "completed_at": instant_or_none(row["completed_at"]),
    }


def _attempt_document(row: RowMapping) -> dict[str, Any]:
    names = ("number", "duration_ms", "outcome", "status_code", "error", "excerpt")
    return {"started_at": instant(row["started_at"])} | {name: row[name] for name in names}
