"""Idempotency keys, per namespace: a request is carried out once, and a repeated one gets the stored response.

The response is stored in the transaction of the change, so either both are committed or neither is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from domain.values.errors import IdempotencyKeyReused
from models.keys import idempotency_keys
from models.records import as_records, insert_records
from services.kernel.group_commit import Aside
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


def used_keys(uow: UnitOfWork, wanted: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of these namespaces with keys for which a response is stored."""
    columns = idempotency_keys.c
    namespaces, keys = ({pair[place] for pair in wanted} for place in (0, 1))
    query = select(columns.namespace, columns.key).where(columns.namespace.in_(namespaces), columns.key.in_(keys))
    return {(row.namespace, row.key) for row in uow.conn.execute(query)} if wanted else set()


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
    row = _row(uow, namespace, idempotency, answer, pause_id=pause_id, saga_id=saga_id)
    if uow.conn.execute(_STORE, row).rowcount == 0:
        get_response(uow, namespace, idempotency)


def store_responses(uow: UnitOfWork, responses: Sequence[tuple[str, IdempotentRequest, dict[str, Any], UUID]]) -> None:
    """Store the responses to requests that created sagas, whose ids come last. Raise `Aside` if one is there already.

    In the order of their keys, so that two processes cannot deadlock.
    """
    rows = [
        _row(uow, namespace, idempotency, answer, pause_id=None, saga_id=saga_id)
        for namespace, idempotency, answer, saga_id in responses
    ]
    rows.sort(key=lambda row: (row["namespace"], row["key"]))
    if rows and uow.conn.execute(_STORE_ALL, {"records": as_records(rows)}).rowcount < len(rows):
        raise Aside


def _row(
    uow: UnitOfWork, namespace: str, idempotency: IdempotentRequest, answer: dict[str, Any], **of: UUID | None
) -> dict[str, Any]:
    row = {"namespace": namespace, "key": idempotency.key, "fingerprint": idempotency.fingerprint}
    return {**row, "answer": answer, "created_at": uow.now, **of}


_STORE = insert(idempotency_keys).on_conflict_do_nothing()
_STORE_ALL = insert_records(idempotency_keys).on_conflict_do_nothing()
