"""Idempotency keys, per namespace: a request is carried out once, and a repeated one gets the stored response.

The response is stored in the transaction of the change, so either both are committed or neither is.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from domain.values.errors import IdempotencyKeyReused
from models.keys import idempotency_keys
from services.kernel.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """The caller's key and the SHA-256 of the request."""

    key: str
    fingerprint: bytes


class RepeatedRequest(Exception):
    """The request was carried out before. Raising this rolls the transaction back; `answer` is the stored response."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer


def get_response(uow: UnitOfWork, namespace: str, idempotency: IdempotentRequest | None) -> None:
    """Raise `RepeatedRequest` if its response is stored, `IdempotencyKeyReused` if that answers another request."""
    if idempotency is None:
        return
    columns = idempotency_keys.c
    query = select(columns.fingerprint, columns.answer).where(
        columns.namespace == namespace, columns.key == idempotency.key
    )
    if stored := uow.conn.execute(query).one_or_none():
        if bytes(stored.fingerprint) != idempotency.fingerprint:
            raise IdempotencyKeyReused
        raise RepeatedRequest(stored.answer)


def store_response(
    uow: UnitOfWork,
    namespace: str,
    idempotency: IdempotentRequest | None,
    answer: dict[str, Any],
    *,
    pause_id: UUID | None = None,
    saga_id: UUID | None = None,
) -> None:
    """Store the response. The second of two simultaneous requests waits here, then gets the first one's.

    Args:
        pause_id, saga_id: what the request created or changed. The key is kept until a day after that has ended.
    """
    if idempotency is None:
        return
    row = insert(idempotency_keys).values(
        namespace=namespace,
        key=idempotency.key,
        fingerprint=idempotency.fingerprint,
        answer=answer,
        created_at=uow.now,
        pause_id=pause_id,
        saga_id=saga_id,
    )
    if uow.conn.execute(row.on_conflict_do_nothing()).rowcount == 0:
        get_response(uow, namespace, idempotency)
