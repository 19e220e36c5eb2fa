"""Webhook signing secrets (`whsec_…`) of endpoints and namespaces: created on first use, rotated with a day's overlap.

They are stored in plain text, because signing needs them. `domain.identity.access` says who may read them.
"""

import base64
import secrets
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.delivery.webhook import SECRET_OVERLAP
from domain.identity.access import Principal
from domain.values.errors import Forbidden
from models.webhooks import webhook_secrets
from services.kernel.unit_of_work import Database, UnitOfWork

# Standard Webhooks asks for 24 to 64 random bytes.
SECRET_BYTES = 32


def namespace_secret(database: Database, by: Principal, namespace: str) -> str:
    """Return the secret that signs the callbacks of this namespace's pauses."""
    _check_access(by, namespace)
    with database.transaction() as uow:
        return current(uow, namespace=namespace)[0]


def read_namespace_secret(database: Database, by: Principal, namespace: str) -> str:
    """Return the namespace's secret to a caller, and record that in the audit log."""
    secret = namespace_secret(database, by, namespace)
    with database.transaction() as uow:
        uow.record(by, namespace, "signing_secret.read", namespace)
    return secret


def rotate_namespace_secret(database: Database, by: Principal, namespace: str) -> str:
    _check_access(by, namespace)
    with database.transaction() as uow:
        current(uow, namespace=namespace)
        uow.record(by, namespace, "signing_secret.rotated", namespace)
        return rotate(uow, namespace=namespace)


def current(uow: UnitOfWork, *, namespace: str | None = None, endpoint_id: UUID | None = None) -> Sequence[str]:
    """Return all secrets that sign now, the newest first. Create one if there is none yet."""
    columns = webhook_secrets.c
    query = (
        select(columns.secret)
        .where(_owner(namespace, endpoint_id), or_(columns.retires_at.is_(None), columns.retires_at > uow.now))
        .order_by(columns.id.desc())
    )
    if found := uow.conn.execute(query).scalars().all():
        return found
    # The unique index admits one of two simultaneous inserts, and both transactions read it.
    uow.conn.execute(insert(webhook_secrets).values(_row(namespace, endpoint_id)).on_conflict_do_nothing())
    return uow.conn.execute(query).scalars().all()


def rotate(uow: UnitOfWork, *, namespace: str | None = None, endpoint_id: UUID | None = None) -> str:
    """Create and return a new secret. The one before also signs for `SECRET_OVERLAP`."""
    columns = webhook_secrets.c
    # A simultaneous rotation waits for this lock, and then retires the secret made here.
    uow.conn.execute(select(func.pg_advisory_xact_lock(func.hashtext(namespace or str(endpoint_id)))))
    uow.conn.execute(
        update(webhook_secrets)
        .where(_owner(namespace, endpoint_id), columns.retires_at.is_(None))
        .values(retires_at=uow.now + SECRET_OVERLAP)
    )
    row = _row(namespace, endpoint_id)
    uow.conn.execute(insert(webhook_secrets).values(row))
    return str(row["secret"])


def _row(namespace: str | None, endpoint_id: UUID | None) -> dict[str, object]:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return {"namespace": namespace, "endpoint_id": endpoint_id, "secret": secret, "retires_at": None}


def _owner(namespace: str | None, endpoint_id: UUID | None) -> ColumnElement[bool]:
    if endpoint_id is not None:
        return webhook_secrets.c.endpoint_id == endpoint_id
    return webhook_secrets.c.namespace == namespace


def _check_access(by: Principal, namespace: str) -> None:
    if not by.sees(namespace):
        raise Forbidden(f"this key has no access to the namespace {namespace!r}")
