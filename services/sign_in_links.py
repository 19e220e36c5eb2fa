"""Links that let a person in: one that signs in, once; or one that opens a single review."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert, select, update

from domain import ids
from domain.access import Principal
from domain.errors import NotFound
from models.people import person_of, sign_in_links, users
from services.sessions import hash_of, open_session
from services.transaction import Store, Tx

# Long enough to open a mail or a terminal's output, short enough for one that is lost.
LINK_LASTS = timedelta(minutes=30)


class LinkExpired(NotFound):
    """This link was used before or has expired: ask for a new one."""

    code = "LINK_EXPIRED"


@dataclass(frozen=True, slots=True)
class From:
    """Where a sign-in comes from, for the person's own list of sessions."""

    address: str | None
    browser: str | None


def make_link(tx: Tx, user_id: UUID, expires_at: datetime, pause_id: UUID | None = None) -> str:
    """The token of a new link."""
    token = secrets.token_urlsafe(32)
    row = {
        "hash": hash_of(token),
        "user_id": user_id,
        "pause_id": pause_id,
        "created_at": tx.now,
        "expires_at": expires_at,
        "used_at": None,
    }
    tx.conn.execute(insert(sign_in_links).values(row))
    return token


def use_link(store: Store, token: str, place: From) -> tuple[str, Principal]:
    """A new session's token and whose it is. Raises `LinkExpired`; of two at once, one gets in."""
    with store.transaction() as tx:
        mine = sign_in_links.c.hash == hash_of(token)
        free = sign_in_links.c.used_at.is_(None) & sign_in_links.c.pause_id.is_(None)
        used = (
            update(sign_in_links)
            .where(mine, free, sign_in_links.c.expires_at > tx.now)
            .values(used_at=tx.now)
            .returning(sign_in_links.c.user_id)
        )
        user_id = tx.conn.execute(used).scalar_one_or_none()
        wanted = select(users).where(users.c.id == user_id, users.c.disabled_at.is_(None))
        row = None if user_id is None else tx.conn.execute(wanted).mappings().one_or_none()
        if row is None:
            raise LinkExpired
        person = person_of(row)
        tx.record(person, "*", "session.started", ids.text(ids.USER, row["id"]), by_link=True)
        return open_session(tx, row["id"], place.address, place.browser), person
