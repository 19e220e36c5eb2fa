"""Tells the world of an event, inside the transaction that made it: wake-ups, and webhook deliveries as due rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Insert, RowMapping, Select, Update, bindparam, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from domain.access import ALL_NAMESPACES
from domain.document import event_document
from domain.pause import Event
from domain.webhook import CALLBACK_TYPES, DeliveryStatus, subscribes
from models.webhooks import webhook_deliveries, webhook_endpoints, webhook_messages
from services.due import HINT_GRACE
from services.transaction import Hint, Store, Tx

WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, about what."""

    namespace: str
    type: str
    body: str
    pause_id: UUID | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message goes. An endpoint that we disabled still gets the row, so that it can be recovered later."""

    url: str
    endpoint_id: UUID | None
    disabled: bool = False

    @property
    def lane(self) -> str:
        """The receiver: an endpoint, or the origin of a callback URL."""
        if self.endpoint_id is not None:
            return self.endpoint_id.hex
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower()


def is_endpoints_lane(lane: str) -> bool:
    """Also once the endpoint was deleted: the lane of a callback is an origin, and that of an endpoint an id."""
    return "://" not in lane


def announcing(change: Insert | Update) -> Select[Any]:
    """The change as one statement with the look at who is to be told: it takes one round trip instead of two.

    Made once, for `announce`.

    Endpoints that an admin switched off are left out. The others are locked against an admin's change until the commit:
    a delivery to an endpoint that was deleted or disabled in between could not be stored, or would wait for nothing.
    """
    columns = webhook_endpoints.c
    return (
        select(columns.id, columns.url, columns.event_types, columns.namespaces, columns.enabled)
        .where(
            columns.namespaces.overlap(bindparam("told_namespaces", type_=ARRAY(Text))),
            columns.enabled | columns.disabled_reason.is_not(None),
        )
        .with_for_update(key_share=True, read=True)
        .add_cte(change.cte("change"))
    )


def announce(store: Store, tx: Tx, events: Sequence[Event], change: Select[Any], values: Mapping[str, Any]) -> None:
    """Make the change (of `announcing`, with its values) and record who is to be told of the events."""
    told = sorted({event.pause.namespace for event in events} | {ALL_NAMESPACES})
    endpoints = tx.conn.execute(change, {**values, "told_namespaces": told}).mappings().all()
    for event in events:
        pause = event.pause
        if event.type != "pause.created":
            tx.wakes.append(pause.id)
        targets = [target_of(row) for row in endpoints if _hears(row, event)]
        if pause.callback_url is not None and event.type in CALLBACK_TYPES:
            targets.append(Target(pause.callback_url, None))
        if targets:
            body = json.dumps(event_document(event, store.public_url), ensure_ascii=False, separators=(",", ":"))
            send(tx, Message(pause.namespace, event.type, body, pause.id), targets)


def _hears(endpoint: RowMapping, event: Event) -> bool:
    wide = ALL_NAMESPACES in endpoint["namespaces"] or event.pause.namespace in endpoint["namespaces"]
    return wide and subscribes(endpoint["event_types"], event.type)


def send(tx: Tx, message: Message, targets: list[Target]) -> list[UUID]:
    """Record the message and one delivery a target; returns the deliveries' ids."""
    message_id = tx.new_id()
    tx.conn.execute(
        insert(webhook_messages).values(
            id=message_id, namespace=message.namespace, type=message.type, body=message.body, created_at=tx.now
        )
    )
    rows = [_delivery_row(tx, message, message_id, target) for target in targets]
    tx.conn.execute(insert(webhook_deliveries), rows)
    tx.hints.extend(Hint(WEBHOOK, row["id"]) for row in rows if row["status"] == DeliveryStatus.PENDING)
    return [row["id"] for row in rows]


def target_of(endpoint: RowMapping) -> Target:
    return Target(endpoint["url"], endpoint["id"], disabled=not endpoint["enabled"])


def _delivery_row(tx: Tx, message: Message, message_id: UUID, target: Target) -> dict[str, Any]:
    status = DeliveryStatus.EXHAUSTED if target.disabled else DeliveryStatus.PENDING
    return {
        "id": tx.new_id(),
        "message_id": message_id,
        "namespace": message.namespace,
        "pause_id": message.pause_id,
        "endpoint_id": target.endpoint_id,
        "url": target.url,
        "lane": target.lane,
        "status": str(status),
        "attempts": 0,
        "retry": 0,
        "last_error": "the endpoint is disabled" if target.disabled else None,
        "created_at": tx.now,
        "completed_at": tx.now if target.disabled else None,
        "due_at": tx.now,
        "hint_at": tx.now + HINT_GRACE,
    }
