"""Use cases of webhook endpoints: made, changed, rotated, removed by an admin; read and tested by operators."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import Result, RowMapping, Select, delete, insert, or_, select, update

from domain.delivery.webhook import DeliveryStatus, header_errors
from domain.identity.access import ALL_NAMESPACES, DEFAULT_NAMESPACE, Permission, Principal
from domain.log.audit import chain_of
from domain.pauses.creation import url_errors
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.canonical_json import encode
from domain.values.errors import EndpointDisabled, FieldError, Forbidden, Invalid, NotFound
from models.webhooks import webhook_deliveries, webhook_endpoints, webhook_secrets
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.tenancy import manages, sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.webhooks.failing_receivers import forget
from services.webhooks.outbox import WebhookMessage, send, target_of
from services.webhooks.signing import current, rotate


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """The fields to set; None leaves one as it is. A new endpoint needs `url` and `namespaces`."""

    url: str | None = None
    event_types: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] | None = None
    description: str | None = None
    headers: Mapping[str, str] | None = None
    enabled: bool | None = None


# Deliveries that one transaction ends, moves or detaches. It holds its locks for well under a second.
BATCH = 1_000
DELETED, DISABLED = "the endpoint was deleted", "the endpoint is disabled"
# In place of the value of a header.
HIDDEN = "***"
_NEW = {"event_types": [], "description": "", "headers": {}, "enabled": True}


def create_endpoint(
    database: Database, by: Principal, new: EndpointChange, idempotency: IdempotentRequest | None
) -> tuple[dict[str, Any], bool]:
    """Return the endpoint's document with its secret; a repeated request gets `secret: null`."""
    _check(database, by, new)
    try:
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, idempotency)
            row = {"id": uow.new_id(), "created_at": uow.now, "updated_at": uow.now, **_NEW, **_columns(new)}
            made = uow.conn.execute(insert(webhook_endpoints).values(row).returning(*webhook_endpoints.c))
            document = _document(made.mappings().one())
            secret = current(uow, endpoint_id=row["id"])[0]
            _record(uow, by, "endpoint.created", None, document)
            store_response(uow, by.own_namespace, idempotency, document | {"secret": None})
    except RepeatedRequest as repeated:
        return repeated.answer, True
    return document | {"secret": secret}, False


def list_endpoints(database: Database, by: Principal, page: Page) -> Slice[dict[str, Any]]:
    query = select(webhook_endpoints).where(manages(by, webhook_endpoints), webhook_endpoints.c.deleted_at.is_(None))
    return newest_first(database, query, webhook_endpoints.c.id, page, lambda row: _shown(by, row))


def get_endpoint(database: Database, by: Principal, endpoint_id: str) -> dict[str, Any]:
    with database.reading() as conn:
        return _shown(by, _found(conn.execute(_visible(by, endpoint_id)), endpoint_id))


def change_endpoint(database: Database, by: Principal, endpoint_id: str, change: EndpointChange) -> dict[str, Any]:
    """Change an endpoint. Enabling it clears the reason why it was disabled.

    Disabling ends the deliveries that wait; `recover` sends them later. A sweep ends the rest of a long backlog
    (`services.webhooks.endpoint_backlog`), so that the request does not wait for it.
    """
    _check(database, by, change)
    with database.transaction() as uow:
        row = _locked(uow, by, endpoint_id)
        columns = _columns(change) | {"updated_at": uow.now}
        if change.enabled is not None:
            columns |= {"disabled_reason": None, "failing_since": None}
            forget(uow, row["id"])
        if change.enabled is False:
            exhaust_waiting(uow, row["id"], DISABLED)
        if change.url is not None:
            # Deliveries of namespaces that the caller does not see keep their URL. The rest of a long backlog gets the
            # new URL when it is claimed.
            columns_ = webhook_deliveries.c
            waiting = columns_.endpoint_id == row["id"], columns_.status == "pending", columns_.url != change.url
            some = select(columns_.id).where(*waiting, sees(by, webhook_deliveries)).limit(BATCH)
            moved = update(webhook_deliveries).where(columns_.id.in_(some.with_for_update(skip_locked=True)))
            uow.conn.execute(moved.values(url=change.url))
        changed = update(webhook_endpoints).where(webhook_endpoints.c.id == row["id"]).values(columns)
        document = _document(uow.conn.execute(changed.returning(*webhook_endpoints.c)).mappings().one())
        _record(uow, by, "endpoint.changed", _document(row), document, changed=sorted(_columns(change)))
        return document


def delete_endpoint(database: Database, by: Principal, endpoint_id: str) -> None:
    """Delete an endpoint. Its deliveries stay readable; those that wait are ended."""
    with database.transaction() as uow:
        row = _locked(uow, by, endpoint_id)
        all_ended = exhaust_waiting(uow, row["id"], DELETED)
        this = webhook_endpoints.c.id == row["id"]
        if all_ended and detach(uow, row["id"]):
            uow.conn.execute(delete(webhook_endpoints).where(this))
        else:
            gone = {"enabled": False, "disabled_reason": None, "deleted_at": uow.now}
            uow.conn.execute(update(webhook_endpoints).where(this).values(gone))
            uow.conn.execute(delete(webhook_secrets).where(webhook_secrets.c.endpoint_id == row["id"]))
        _record(uow, by, "endpoint.deleted", _document(row), None)


def rotate_endpoint_secret(database: Database, by: Principal, endpoint_id: str) -> dict[str, Any]:
    with database.transaction() as uow:
        row = _locked(uow, by, endpoint_id)
        document = _document(row)
        _record(uow, by, "endpoint.secret_rotated", document, document)
        return document | {"secret": rotate(uow, endpoint_id=row["id"])}


def test_endpoint(database: Database, by: Principal, endpoint_id: str) -> dict[str, Any]:
    """Send the endpoint a `webhook.test`; return the id of the delivery."""
    with database.transaction() as uow:
        row = _locked(uow, by, endpoint_id)
        if not row["enabled"]:
            raise EndpointDisabled
        event = {"type": "webhook.test", "timestamp": instant(uow.now), "data": {"endpoint_id": endpoint_id}}
        message = WebhookMessage(_home(row["namespaces"]), "webhook.test", encode(event), None)
        (delivery_id,) = send(uow, message, [target_of(row)])
        told = {"delivery_id": ids.text(ids.DELIVERY, delivery_id)}
        _record(uow, by, "endpoint.tested", _document(row), _document(row), **told)
        return told


def exhaust_waiting(uow: UnitOfWork, endpoint_id: UUID, reason: str) -> bool:
    """End one batch of the deliveries that wait for this endpoint. Return whether none is left.

    A delivery under way is left out: its worker records its end.
    """
    columns = webhook_deliveries.c
    # An expired lease belonged to a killed worker, so the delivery is ended here.
    free = or_(columns.lease_token.is_(None), columns.leased_until < uow.now)
    waiting = columns.endpoint_id == endpoint_id, columns.status == "pending", free
    some = select(columns.id).where(*waiting).order_by(columns.seq).limit(BATCH).with_for_update(skip_locked=True)
    ended = update(webhook_deliveries).where(columns.id.in_(some)).values(exhausted(uow, reason))
    return uow.conn.execute(ended).rowcount < BATCH


def detach(uow: UnitOfWork, endpoint_id: UUID) -> bool:
    """Detach one batch of deliveries from an endpoint that is being deleted. Return whether none is left.

    The foreign key (ON DELETE SET NULL) would do the same, but for all of them in one statement.
    """
    columns = webhook_deliveries.c
    of_it = columns.endpoint_id == endpoint_id
    some = select(columns.id).where(of_it).order_by(columns.status, columns.seq).limit(BATCH)
    freed = update(webhook_deliveries).where(columns.id.in_(some.with_for_update(skip_locked=True)))
    return uow.conn.execute(freed.values(endpoint_id=None)).rowcount < BATCH


def exhausted(uow: UnitOfWork, reason: str) -> dict[str, Any]:
    """Return the columns of a delivery that ends without an attempt."""
    ended = {"status": str(DeliveryStatus.EXHAUSTED), "completed_at": uow.now, "last_error": reason}
    return ended | {"lease_token": None, "leased_until": None}


def _record(
    uow: UnitOfWork,
    by: Principal,
    type_: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    **details: Any,
) -> None:
    """Record a change in the log of each namespace that the endpoint served or serves.

    URLs may contain secrets, so they enter only the digests. Headers are left out entirely, because a weak
    password could be found from a digest by trying.
    """
    known = [document for document in (before, after) if document is not None]
    namespaces = sorted({name for document in known for name in document["namespaces"]})
    digested = {"before": _digested(before), "after": _digested(after)}
    uow.record(by, chain_of(namespaces), type_, known[0]["id"], **digested, **details)


def _digested(document: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if document is None else document | {"headers": sorted(document["headers"])}


def _check(database: Database, by: Principal, change: EndpointChange) -> None:
    for namespace in change.namespaces or ():
        if not by.sees(namespace):
            raise Forbidden(f"this key has no access to the namespace {namespace!r}")
    if found := list(_field_errors(database, change)):
        raise Invalid(found)


def _field_errors(database: Database, change: EndpointChange) -> Iterator[FieldError]:
    if change.url is not None:
        yield from url_errors("url", change.url, database.egress_allow)
    if change.headers is not None:
        yield from header_errors(change.headers)


def _columns(change: EndpointChange) -> dict[str, Any]:
    found = {field.name: getattr(change, field.name) for field in fields(change)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value is not None
    }


def _visible(by: Principal, endpoint_id: str) -> Select[Any]:
    id_ = ids.parse(ids.ENDPOINT, endpoint_id)
    found = webhook_endpoints.c.id == id_, manages(by, webhook_endpoints), webhook_endpoints.c.deleted_at.is_(None)
    return select(webhook_endpoints).where(*found)


def _locked(uow: UnitOfWork, by: Principal, endpoint_id: str) -> RowMapping:
    return _found(uow.conn.execute(_visible(by, endpoint_id).with_for_update()), endpoint_id)


def _found(result: Result[Any], endpoint_id: str) -> RowMapping:
    row = result.mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id[:64]!r} that this key may see")
    return row


def _shown(by: Principal, row: RowMapping) -> dict[str, Any]:
    """Hide header values from a caller who may not manage endpoints: they often hold the receiver's password."""
    document = _document(row)
    if by.may(Permission.ENDPOINT_MANAGE):
        return document
    return document | {"headers": dict.fromkeys(row["headers"], HIDDEN)}


def _home(namespaces: Sequence[str]) -> str:
    """Return the namespace of a test message."""
    return DEFAULT_NAMESPACE if ALL_NAMESPACES in namespaces else namespaces[0]


def _document(row: RowMapping) -> dict[str, Any]:
    return {
        "id": ids.text(ids.ENDPOINT, row["id"]),
        "url": row["url"],
        "event_types": list(row["event_types"]),
        "namespaces": list(row["namespaces"]),
        "description": row["description"],
        "headers": row["headers"],
        "enabled": row["enabled"],
        "disabled_reason": row["disabled_reason"],
        "failing_since": instant_or_none(row["failing_since"]),
        "created_at": instant(row["created_at"]),
        "updated_at": instant(row["updated_at"]),
    }
