"""Signed-in browsers. The token is in the person's cookie; here is only its hash, so a stolen backup opens nothing."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from domain.access import Principal
from models.people import person_of, sessions, users
from services.transaction import Store, Tx

# Someone who leaves the desk for the night signs in again the next morning; after two weeks everybody does.
IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=14)
# `seen_at` is written at most this often for one session.
SEEN_RESOLUTION = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Session:
    token: str
    person: Principal
    user_id: UUID


def hash_of(token: str) -> bytes:
    """256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def open_session(tx: Tx, user_id: UUID, address: str | None, browser: str | None) -> str:
    """A new token: never one that the browser brought along, which somebody else may have planted there."""
    token = secrets.token_urlsafe(32)
    row = {
        "hash": hash_of(token),
        "user_id": user_id,
        "created_at": tx.now,
        "seen_at": tx.now,
        "expires_at": tx.now + ABSOLUTE,
        "address": address,
        "browser": browser,
    }
    tx.conn.execute(insert(sessions).values(row))
    return token


def find_session(store: Store, token: str) -> Session | None:
    """Who is signed in by this token now. Stamps `seen_at`, at most once a minute."""
    now = func.clock_timestamp()
    stale = (sessions.c.seen_at < now - SEEN_RESOLUTION).label("stale")
    query = (
        select(users, stale)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(
            sessions.c.hash == hash_of(token),
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - IDLE,
            users.c.disabled_at.is_(None),
        )
    )
    with store.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
        if row is None:
            return None
        if row["stale"]:
            conn.execute(update(sessions).where(sessions.c.hash == hash_of(token)).values(seen_at=now))
    return Session(token, person_of(row), row["id"])


def close_session(store: Store, token: str) -> None:
    with store.transaction() as tx:
        tx.conn.execute(delete(sessions).where(sessions.c.hash == hash_of(token)))


def close_all_sessions(tx: Tx, user_id: UUID) -> int:
    return tx.conn.execute(delete(sessions).where(sessions.c.user_id == user_id)).rowcount
