"""Tells the world of an event, inside the transaction that made it: wake-ups, and webhook deliveries as due rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Insert, RowMapping, Select, Update, bindparam, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from domain.delivery.webhook import CALLBACK_TYPES, DeliveryStatus, subscribes
from domain.identity.access import ALL_NAMESPACES
from domain.pauses.pause import Event
from domain.pauses.serialization import event_document
from domain.values.canonical_json import encode
from domain.values.ids import INBOX
from models.webhooks import webhook_deliveries, webhook_endpoints, webhook_messages
from services.kernel.leases import WEBHOOK, due_now
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """What is sent, about what."""

    namespace: str
    type: str
    body: str
    pause_id: UUID | None


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """Where a message goes. An endpoint that we disabled still gets the row, so that it can be recovered later."""

    url: str
    endpoint_id: UUID | None
    disabled: bool = False

    def lane(self, namespace: str) -> str:
        """The receiver, an endpoint or the origin of a callback URL; and whose messages, so that none waits behind
        another's."""
        if self.endpoint_id is not None:
            return f"{self.endpoint_id.hex} {namespace}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower() + f" {namespace}"


def is_endpoints_lane(lane: str) -> bool:
    """Also once the endpoint was deleted: the lane of a callback begins with an origin, and that of an endpoint with
    an id."""
    return "://" not in lane.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened, for whoever subscribes to it.

    Attributes:
        document: makes the body; most of what happens nobody subscribes to.
        callback_url: is told too, whatever the subscriptions.
    """

    type: str
    namespace: str
    document: Callable[[], dict[str, Any]]
    pause_id: UUID | None = None
    callback_url: str | None = None


_columns = webhook_endpoints.c
# Endpoints that an admin switched off are left out. The others are locked against an admin's change until the commit: a
# delivery to an endpoint that was deleted or disabled in between could not be stored, or would wait for nothing.
_TOLD = (
    select(_columns.id, _columns.url, _columns.event_types, _columns.namespaces, _columns.enabled)
    .where(
        _columns.namespaces.overlap(bindparam("told_namespaces", type_=ARRAY(Text))),
        _columns.enabled | _columns.disabled_reason.is_not(None),
    )
    .with_for_update(key_share=True, read=True)
)


def announcing(change: Insert | Update) -> Select[Any]:
    """The change as one statement with the look at who is to be told: it takes one round trip instead of two.

    Made once, for `announce`.
    """
    return _TOLD.add_cte(change.cte("change"))


def announce(
    database: Database, uow: UnitOfWork, events: Sequence[Event], change: Select[Any], values: Mapping[str, Any]
) -> None:
    """Make the change (of `announcing`, with its values) and record who is to be told of the events."""
    notices = [_notice(event, database.public_url) for event in events]
    tell(uow, notices, change, values)
    # Of a new pause nobody can be waiting but those who watch all; of any other change they hear with it.
    uow.wakes.extend({INBOX if event.type == "pause.created" else event.pause.id for event in events})


def tell(
    uow: UnitOfWork, notices: Sequence[WebhookEvent], change: Select[Any] = _TOLD, values: Mapping[str, Any] = _NOTHING
) -> None:
    """Record who is to be told; with the change, if there is one."""
    namespaces = sorted({notice.namespace for notice in notices} | {ALL_NAMESPACES})
    endpoints = uow.conn.execute(change, {**values, "told_namespaces": namespaces}).mappings().all()
    for notice in notices:
        targets = [target_of(row) for row in endpoints if _hears(row, notice)]
        if notice.callback_url is not None:
            targets.append(DeliveryTarget(notice.callback_url, None))
        if targets:
            body = encode(notice.document())
            send(uow, WebhookMessage(notice.namespace, notice.type, body, notice.pause_id), targets)


def _notice(event: Event, public_url: str) -> WebhookEvent:
    pause = event.pause
    callback = pause.callback_url if event.type in CALLBACK_TYPES else None
    return WebhookEvent(event.type, pause.namespace, partial(event_document, event, public_url), pause.id, callback)


def _hears(endpoint: RowMapping, notice: WebhookEvent) -> bool:
    wide = ALL_NAMESPACES in endpoint["namespaces"] or notice.namespace in endpoint["namespaces"]
    return wide and subscribes(endpoint["event_types"], notice.type)


def send(uow: UnitOfWork, message: WebhookMessage, targets: list[DeliveryTarget]) -> list[UUID]:
    """Record the message and one delivery a target; returns the deliveries' ids."""
    message_id = uow.new_id()
    uow.conn.execute(
        insert(webhook_messages).values(
            id=message_id, namespace=message.namespace, type=message.type, body=message.body, created_at=uow.now
        )
    )
    rows = [_delivery_row(uow, message, message_id, target) for target in targets]
    uow.conn.execute(insert(webhook_deliveries), rows)
    uow.wakeups.extend(WakeUp(WEBHOOK, row["id"]) for row in rows if row["status"] == DeliveryStatus.PENDING)
    return [row["id"] for row in rows]


def target_of(endpoint: RowMapping) -> DeliveryTarget:
    return DeliveryTarget(endpoint["url"], endpoint["id"], disabled=not endpoint["enabled"])


def _delivery_row(uow: UnitOfWork, message: WebhookMessage, message_id: UUID, target: DeliveryTarget) -> dict[str, Any]:
    status = DeliveryStatus.EXHAUSTED if target.disabled else DeliveryStatus.PENDING
    return {
        "id": uow.new_id(),
        "message_id": message_id,
        "namespace": message.namespace,
        "pause_id": message.pause_id,
        "endpoint_id": target.endpoint_id,
        "url": target.url,
        "lane": target.lane(message.namespace),
        "status": str(status),
        "attempts": 0,
        "retry": 0,
        "last_error": "the endpoint is disabled" if target.disabled else None,
        "created_at": uow.now,
        "completed_at": uow.now if target.disabled else None,
        **due_now(uow),
    }
