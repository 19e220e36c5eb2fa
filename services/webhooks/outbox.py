"""The webhook outbox: an event's message and its deliveries, stored in the transaction of the change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from domain.delivery.webhook import CALLBACK_TYPES, DeliveryStatus, subscribes
from domain.identity.access import ALL_NAMESPACES
from domain.pauses.serialization import RenderedEvent, event_document
from domain.values.canonical_json import encode
from domain.values.ids import INBOX
from models.webhooks import webhook_deliveries, webhook_endpoints, webhook_messages
from services.kernel.compiled_writes import Write
from services.kernel.leases import WEBHOOK, due_now
from services.kernel.unit_of_work import UnitOfWork, WakeUp


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """One webhook message: the body that every subscriber gets."""

    namespace: str
    type: str
    body: str
    pause_id: UUID | None


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """A receiver of a message. A disabled endpoint gets its delivery too, so that it can be recovered later.

    `format`: that of a callback whose body is made at each attempt; None means the message's body.
    """

    url: str
    endpoint_id: UUID | None
    disabled: bool = False
    format: str | None = None

    def lane(self, namespace: str) -> str:
        """Return the queue of the delivery: one per receiver and namespace, so that namespaces do not delay each other.

        The receiver is an endpoint, or the origin of a callback URL.
        """
        if self.endpoint_id is not None:
            return f"{self.endpoint_id.hex} {namespace}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower() + f" {namespace}"


def is_endpoints_lane(lane: str) -> bool:
    """Return whether the lane is an endpoint's, which may be deleted. A callback's lane begins with an origin."""
    return "://" not in lane.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event for its subscribers.

    Attributes:
        document: returns the body; called only if the event has a receiver.
        callback_url: a receiver besides the subscribers.
        callback_format: the format in which that receiver gets another body.
    """

    type: str
    namespace: str
    document: Callable[[], dict[str, Any]]
    pause_id: UUID | None = None
    callback_url: str | None = None
    callback_format: str | None = None


_columns = webhook_endpoints.c
# Without endpoints that an admin has switched off. The lock keeps an admin from deleting or disabling one until the
# commit: its delivery could not be stored, or would never be sent.
_ENDPOINTS = (
    select(_columns.id, _columns.url, _columns.event_types, _columns.namespaces, _columns.enabled)
    .where(
        _columns.namespaces.overlap(bindparam("event_namespaces", type_=ARRAY(Text))),
        _columns.enabled | _columns.disabled_reason.is_not(None),
    )
    .with_for_update(key_share=True, read=True)
    .execution_options(prepared=True)
)


def announce(uow: UnitOfWork, events: Sequence[RenderedEvent], change: Write, values: Mapping[str, Any]) -> None:
    """Write the change with its values, store the events' deliveries, and wake up readers."""
    uow.write(change, values)
    enqueue(uow, [_webhook_event(event) for event in events])
    # Only the inbox can wait for a pause that is new; it gets every later change as well.
    uow.wakes.extend({INBOX if event.event.type == "pause.created" else event.pause.id for event in events})


def enqueue(uow: UnitOfWork, events: Sequence[WebhookEvent]) -> None:
    """Store a delivery for each receiver of each event."""
    endpoints = _endpoints(uow, (*sorted({event.namespace for event in events}), ALL_NAMESPACES)) if events else ()
    sent: list[tuple[WebhookMessage, list[DeliveryTarget]]] = []
    for event in events:
        targets = [target_of(row) for row in endpoints if _subscribes(row, event)]
        if event.callback_url is not None:
            targets.append(DeliveryTarget(event.callback_url, None, format=event.callback_format))
        if targets:
            body = encode(event.document())
            sent.append((WebhookMessage(event.namespace, event.type, body, event.pause_id), targets))
    _send(uow, sent)


def _endpoints(uow: UnitOfWork, namespaces: tuple[str, ...]) -> Sequence[RowMapping]:
    """Return the endpoints of these namespaces, which are read once in a transaction."""
    key = _ENDPOINTS, namespaces
    if key not in uow.found:
        found = uow.lookups.execute(_ENDPOINTS, {"event_namespaces": list(namespaces)})
        uow.found[key] = found.mappings().all()
    return uow.found[key]  # type: ignore[no-any-return]


def _webhook_event(event: RenderedEvent) -> WebhookEvent:
    type_, pause = event.event.type, event.pause
    callback = pause.callback_url if type_ in CALLBACK_TYPES else None
    body = partial(event_document, event.event, event.document)
    return WebhookEvent(type_, pause.namespace, body, pause.id, callback, pause.callback_format)


def _subscribes(endpoint: RowMapping, event: WebhookEvent) -> bool:
    in_scope = ALL_NAMESPACES in endpoint["namespaces"] or event.namespace in endpoint["namespaces"]
    return in_scope and subscribes(endpoint["event_types"], event.type)


def send(uow: UnitOfWork, message: WebhookMessage, targets: list[DeliveryTarget]) -> list[UUID]:
    """Store the message and one delivery per target; return the ids of the deliveries."""
    return _send(uow, [(message, targets)])


def _send(uow: UnitOfWork, sent: Sequence[tuple[WebhookMessage, list[DeliveryTarget]]]) -> list[UUID]:
    messages: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for message, targets in sent:
        row = {name: getattr(message, name) for name in ("namespace", "type", "body")}
        messages.append({"id": uow.new_id(), "created_at": uow.now, **row})
        rows += [_delivery_row(uow, message, messages[-1]["id"], target) for target in targets]
    if messages:
        uow.conn.execute(insert(webhook_messages), messages)
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
        "format": target.format,
        "status": str(status),
        "attempts": 0,
        "retry": 0,
        "last_error": "the endpoint is disabled" if target.disabled else None,
        "created_at": uow.now,
        "completed_at": uow.now if target.disabled else None,
        **due_now(uow),
    }
