"""API keys: create, list, rotate, revoke, authenticate. A key is shown once and stored as a hash.

The key's id is the identity, which a rotation does not change. Two secrets of a key may be valid at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import DateTime, RowMapping, and_, cast, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from domain.identity.access import ALL_NAMESPACES, Principal, Role
from domain.log.audit import chain_of
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from models.keys import api_keys, principal_of
from services.identity.tokens import hash_of, new_token
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.tenancy import manages
from services.kernel.unit_of_work import Database, UnitOfWork

PREFIX = "hitl_"
# The prefix that lists show. It tells keys apart and does not help to guess the rest.
SHOWN = len(PREFIX) + 6
# `last_used_at` is written at most this often for one key.
USE_RESOLUTION = timedelta(seconds=60)
# How long the old secret of a rotated key stays valid, unless the caller says otherwise.
OVERLAP = timedelta(days=1)
MAX_OVERLAP = timedelta(days=30)


class KeyNotUsable(Conflict):
    """The key is revoked or has expired: make a new one."""

    code = "KEY_NOT_USABLE"


@dataclass(frozen=True, slots=True)
class NewKey:
    name: str
    role: Role
    namespaces: tuple[str, ...]
    expires_at: datetime | None = None


def create_key(
    database: Database, by: Principal, new: NewKey, idempotency: IdempotentRequest | None
) -> tuple[dict[str, Any], bool]:
    """Return the key's document with the key itself. A repeated request gets `key: null`."""
    _check_namespaces(by, new.namespaces)
    try:
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, idempotency)
            if new.expires_at is not None and new.expires_at <= uow.now:
                raise Invalid([FieldError("expires_at", "is not in the future")])
            key, document = _insert(uow, new, by)
            store_response(uow, by.own_namespace, idempotency, document | {"key": None})
    except RepeatedRequest as repeated:
        return repeated.answer, True
    return document | {"key": key}, False


def list_keys(database: Database, by: Principal, page: Page) -> Slice[dict[str, Any]]:
    query = select(api_keys).where(manages(by, api_keys))
    return newest_first(database, query, api_keys.c.id, page, _document)


def rotate_key(
    database: Database, by: Principal, key_id: str, overlap: timedelta, idempotency: IdempotentRequest | None
) -> tuple[dict[str, Any], bool]:
    """Give the key a new secret, shown only now. The old one stays valid for `overlap`. Raise `KeyNotUsable`."""
    id_ = ids.parse(ids.KEY, key_id)
    try:
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, idempotency)
            query = select(api_keys).where(api_keys.c.id == id_, manages(by, api_keys)).with_for_update(key_share=True)
            row = uow.conn.execute(query).mappings().one_or_none()
            if row is None:
                raise NotFound(f"there is no key {key_id[:64]!r} that this key may see")
            if row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= uow.now):
                raise KeyNotUsable
            key = PREFIX + new_token()
            changes = {"hash": hash_of(key), "prefix": key[:SHOWN], "rotated_at": uow.now, "taken_up_at": None}
            changes |= {"previous_hash": _old_secret(row, uow.now), "previous_until": uow.now + overlap}
            rotated = update(api_keys).where(api_keys.c.id == id_).values(changes).returning(*api_keys.c)
            document = _document(uow.conn.execute(rotated).mappings().one())
            details = {"before": _document(row), "after": document, "previous_until": document["previous_valid_until"]}
            uow.record(by, chain_of(row["namespaces"]), "key.rotated", document["id"], **details)
            store_response(uow, by.own_namespace, idempotency, document | {"key": None})
    except RepeatedRequest as repeated:
        return repeated.answer, True
    return document | {"key": key}, False


def _old_secret(row: RowMapping, now: datetime) -> bytes:
    """Return the hash of the secret to keep valid. If the last rotation's was never used, that is the one before."""
    works = row["previous_until"] is not None and row["previous_until"] > now
    return bytes(row["previous_hash"] if works and row["taken_up_at"] is None else row["hash"])


def revoke_key(database: Database, by: Principal, key_id: str) -> dict[str, Any]:
    """Revoke a key. Processes cache keys, so this takes effect within 5 s."""
    id_ = ids.parse(ids.KEY, key_id)
    with database.transaction() as uow:
        revoked = (
            update(api_keys)
            .where(api_keys.c.id == id_, manages(by, api_keys))
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, uow.now))
            .returning(*api_keys.c)
        )
        row = uow.conn.execute(revoked).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no key {key_id[:64]!r} that this key may see")
        document = _document(row)
        if row["revoked_at"] == uow.now:
            # This request revoked it, and no earlier one.
            before = document | {"revoked_at": None}
            uow.record(by, chain_of(row["namespaces"]), "key.revoked", document["id"], before=before, after=document)
        return document


def authenticate(database: Database, hash_: bytes) -> Principal | None:
    """Return the principal of a valid key, or None. Write `last_used_at` at most once a minute."""
    columns = api_keys.c
    now = func.clock_timestamp()
    new = and_(columns.hash == hash_, columns.rotated_at.is_not(None), columns.taken_up_at.is_(None)).label("new")
    stale = or_(columns.last_used_at.is_(None), columns.last_used_at < now - USE_RESOLUTION).label("stale")
    query = select(api_keys, new, stale).where(
        or_(columns.hash == hash_, and_(columns.previous_hash == hash_, columns.previous_until > now)),
        columns.revoked_at.is_(None),
        or_(columns.expires_at.is_(None), columns.expires_at > now),
    )
    with database.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if row["stale"] or row["new"]:
        with database.transaction() as uow:
            used = {"last_used_at": uow.now} | ({"taken_up_at": uow.now} if row["new"] else {})
            uow.conn.execute(update(api_keys).where(columns.id == row["id"]).values(used))
    return principal_of(row)


def valid_hashes(database: Database, key_id: str) -> list[bytes]:
    """Return the hashes of the secrets of a key, for a caller that proves it knows one. `authenticate` checks the key.

    A rotated key has two while its old secret is valid.
    """
    columns = api_keys.c
    query = select(columns.hash, columns.previous_hash).where(columns.id == ids.parse(ids.KEY, key_id))
    with database.reading() as conn:
        row = conn.execute(query).one_or_none()
    return [] if row is None else [bytes(each) for each in row if each is not None]


def record_door(database: Database, by: Principal, door: str) -> None:
    """Record that the key requests a pause through this door. Write at most once a minute for each key and door."""
    id_ = ids.parse(ids.KEY, by.id)
    if id_ is None:
        return
    doors = func.coalesce(api_keys.c.doors, cast({}, JSONB))
    last = cast(doors[door].astext, DateTime(timezone=True))
    with database.transaction() as uow:
        used = doors.concat(func.jsonb_build_object(door, instant(uow.now)))
        stale = or_(last.is_(None), last < uow.now - USE_RESOLUTION)
        uow.conn.execute(update(api_keys).where(api_keys.c.id == id_, stale).values(doors=used))


def admin_key_exists(database: Database) -> bool:
    """Return whether there is a valid admin key for all namespaces."""
    columns = api_keys.c
    good = (
        columns.revoked_at.is_(None),
        or_(columns.expires_at.is_(None), columns.expires_at > func.clock_timestamp()),
    )
    admin = columns.role == str(Role.ADMIN), columns.namespaces.contains([ALL_NAMESPACES])
    with database.reading() as conn:
        return conn.execute(select(columns.id).where(*admin, *good).limit(1)).first() is not None


def ensure_first_keys(database: Database, known: Mapping[str, str]) -> dict[str, str]:
    """Return one key for each role of a new installation: valid ones of `known`, new ones for the other roles."""
    keys: dict[str, str] = {}
    for role in Role:
        key = known.get(role, "")
        found = authenticate(database, hash_of(key)) if key else None
        if found is None or found.role is not role:
            with database.transaction() as uow:
                key, _ = _insert(uow, NewKey(f"first {role}", role, (ALL_NAMESPACES,)), None)
        keys[role] = key
    return keys


def _insert(uow: UnitOfWork, new: NewKey, by: Principal | None) -> tuple[str, dict[str, Any]]:
    """Insert a key. `by`: None means `sagahold up`."""
    key = PREFIX + new_token()
    row = {
        "id": uow.new_id(),
        "hash": hash_of(key),
        "prefix": key[:SHOWN],
        "name": new.name,
        "role": str(new.role),
        "namespaces": list(new.namespaces),
        "created_at": uow.now,
        "created_by": "sagahold up" if by is None else by.id,
        "expires_at": new.expires_at,
        "revoked_at": None,
        "last_used_at": None,
    }
    made = uow.conn.execute(insert(api_keys).values(row).returning(*api_keys.c))
    document = _document(made.mappings().one())
    about = {name: document[name] for name in ("name", "role", "namespaces")}
    uow.record(by, chain_of(new.namespaces), "key.created", document["id"], after=document, **about)
    return key, document


def _check_namespaces(by: Principal, namespaces: Sequence[str]) -> None:
    for namespace in namespaces:
        if not by.sees(namespace):
            raise Forbidden(f"a key for the namespace {namespace!r} can only be made by a key that has access to it")


def _document(row: RowMapping) -> dict[str, Any]:
    return {
        "id": ids.text(ids.KEY, row["id"]),
        "prefix": row["prefix"],
        "name": row["name"],
        "role": row["role"],
        "namespaces": list(row["namespaces"]),
        "created_at": instant(row["created_at"]),
        "created_by": row["created_by"],
        "expires_at": instant_or_none(row["expires_at"]),
        "revoked_at": instant_or_none(row["revoked_at"]),
        "last_used_at": instant_or_none(row["last_used_at"]),
        "doors": _doors(row["doors"] or {}),
        "rotated_at": instant_or_none(row["rotated_at"]),
        "taken_up_at": instant_or_none(row["taken_up_at"]),
        "previous_valid_until": instant_or_none(row["previous_until"]),
    }


def _doors(used: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the doors, the one used last first."""
    return [{"door": door, "last_used_at": at} for door, at in sorted(used.items(), key=itemgetter(1), reverse=True)]
