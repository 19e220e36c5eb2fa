"""The keys that sign receipts: the first one, rotation, and the published public keys.

Each use reads the current key from the database, so a rotation takes effect in all processes at once.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import RowMapping, insert, select, update

from domain.identity.access import Principal
from domain.log.audit import EVERYWHERE
from domain.pauses.receipt_key import KeyState, SigningKey
from domain.pauses.serialization import instant, instant_or_none
from domain.values.errors import Forbidden
from models.receipts import receipt_keys, signing_key_of
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.unit_of_work import Database, UnitOfWork

_LOCK = "receipt keys"


class Signer(Protocol):
    """The maker and user of keys (`adapters.receipts.signing`). It encrypts their private parts, and may store them."""

    def new_key(self) -> SigningKey: ...

    def sign(self, key: SigningKey, claims: Mapping[str, Any]) -> str: ...

    def sign_note(self, key: SigningKey, content: bytes) -> bytes: ...

    def state(self, key: SigningKey) -> KeyState: ...

    def forget(self, key: SigningKey) -> None: ...


def current_key(database: Database, signer: Signer) -> SigningKey:
    """Return the key that signs now; make the first one. Raise `ReceiptKeyUnavailable`."""
    with database.reading() as conn:
        row = conn.execute(_CURRENT).mappings().one_or_none()
    return _make_first(database, signer) if row is None else signing_key_of(row)


def published_keys(database: Database, signer: Signer) -> list[dict[str, str]]:
    """Return all public keys as JWKs, the newest first."""
    with database.reading() as conn:
        rows = conn.execute(_ALL).mappings().all()
    return [key.jwk for key in ([signing_key_of(row) for row in rows] or [_make_first(database, signer)])]


def list_keys(database: Database, signer: Signer, by: Principal) -> list[dict[str, Any]]:
    """List the keys, the newest first, with the place of each private key. Raise `Forbidden`."""
    _check(by)
    current_key(database, signer)
    with database.reading() as conn:
        return [_document(row, signer) for row in conn.execute(_ALL).mappings()]


def rotate_key(
    database: Database, signer: Signer, by: Principal, idempotency: IdempotentRequest | None
) -> tuple[dict[str, Any], bool]:
    """Sign with a new key from now on. Delete the old private key. Raise `Forbidden`, `ReceiptKeyUnavailable`."""
    _check(by)
    current_key(database, signer)
    try:
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, idempotency)
            uow.take_advisory_lock(_LOCK)
            old = signing_key_of(uow.conn.execute(_CURRENT).mappings().one())
            retired = {"retired_at": uow.now, "private_key": None}
            uow.conn.execute(update(receipt_keys).where(receipt_keys.c.kid == old.kid).values(retired))
            document = _document(_insert(uow, signer), signer)
            uow.record(by, EVERYWHERE, "receipt_key.rotated", document["kid"], after=document, replaces=old.kid)
            store_response(uow, by.own_namespace, idempotency, document)
    except RepeatedRequest as repeated:
        return repeated.answer, True
    signer.forget(old)
    return document, False


def _make_first(database: Database, signer: Signer) -> SigningKey:
    with database.transaction() as uow:
        # One of several processes that start at once makes the key, and the others then find it.
        uow.take_advisory_lock(_LOCK)
        row = uow.conn.execute(_CURRENT).mappings().one_or_none()
        if row is None:
            row = _insert(uow, signer)
            uow.record(None, EVERYWHERE, "receipt_key.created", row["kid"], after=_document(row, signer))
        return signing_key_of(row)


def _insert(uow: UnitOfWork, signer: Signer) -> RowMapping:
    key = signer.new_key()
    row = {"kid": key.kid, "public_key": key.public, "private_key": key.private, "created_at": uow.now}
    return uow.conn.execute(insert(receipt_keys).values(row).returning(*receipt_keys.c)).mappings().one()


def _document(row: RowMapping, signer: Signer) -> dict[str, Any]:
    state = signer.state(signing_key_of(row)) if row["retired_at"] is None else None
    return {
        "kid": row["kid"],
        "created_at": instant(row["created_at"]),
        "retired_at": instant_or_none(row["retired_at"]),
        "place": None if state is None else state.place,
        "encrypted": None if state is None else state.encrypted,
        "problem": None if state is None else state.problem,
    }


def _check(by: Principal) -> None:
    if not by.sees_all:
        raise Forbidden("the keys of receipts are for all namespaces: only an admin of all of them manages them")


_CURRENT = select(receipt_keys).where(receipt_keys.c.retired_at.is_(None))
_ALL = select(receipt_keys).order_by(receipt_keys.c.retired_at.is_(None).desc(), receipt_keys.c.created_at.desc())
