"""Links for a person: one that signs in, once, or one that opens a single review."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from domain.identity.access import Authentication, Principal
from domain.values.errors import NotFound
from models.pauses import pauses
from models.people import person_of, sign_in_links, users
from services.identity.sessions import BrowserSession, SignInOrigin, open_session
from services.identity.tokens import hash_of, new_token
from services.kernel.unit_of_work import Database, UnitOfWork

# Long enough to open a mail; short enough to limit the harm of a leaked link.
LINK_LASTS = timedelta(minutes=30)
# A review link still shows the outcome for this long.
OUTCOME_SHOWN = timedelta(hours=24)


class LinkExpired(NotFound):
    """This link was used before or has expired: ask for a new one."""

    code = "LINK_EXPIRED"


def make_link(uow: UnitOfWork, user_id: UUID, expires_at: datetime, pause_id: UUID | None = None) -> str:
    """Create a link and return its token."""
    token = new_token()
    row = {
        "hash": hash_of(token),
        "user_id": user_id,
        "pause_id": pause_id,
        "created_at": uow.now,
        "expires_at": expires_at,
        "used_at": None,
    }
    uow.conn.execute(insert(sign_in_links).values(row))
    return token


def link_is_good(database: Database, token: str) -> bool:
    """Return whether the link would sign in now. The confirmation page asks before the link is used."""
    query = select(sign_in_links.c.hash).where(*_usable(token, func.clock_timestamp()))
    with database.reading() as conn:
        return conn.execute(query).first() is not None


def use_link(database: Database, token: str, place: SignInOrigin) -> tuple[str, Principal]:
    """Use up a link. Return the token of a new session and the person. Raise `LinkExpired`.

    Only one of two simultaneous uses succeeds.
    """
    with database.transaction() as uow:
        # The person is locked first, as in `change_person`: no session survives disabling, and no deadlock is possible.
        owner = select(sign_in_links.c.user_id).where(*_usable(token, uow.now)).scalar_subquery()
        wanted = select(users).where(users.c.id == owner, users.c.disabled_at.is_(None)).with_for_update()
        row = uow.conn.execute(wanted).mappings().one_or_none()
        used = update(sign_in_links).where(*_usable(token, uow.now)).values(used_at=uow.now)
        if row is None or not uow.conn.execute(used).rowcount:
            raise LinkExpired
        person = person_of(row, place.address)
        return open_session(uow, person, row["id"], place, "link"), person


def find_review_link(database: Database, tokens: Sequence[str], pause_id: UUID) -> BrowserSession | None:
    """Return the session of the first valid link to this review. It stays valid, because mail scanners follow links."""
    now = func.clock_timestamp()
    by_hash = {hash_of(token): token for token in tokens}
    query = (
        select(users, sign_in_links.c.hash)
        .join(sign_in_links, sign_in_links.c.user_id == users.c.id)
        .join(pauses, pauses.c.id == sign_in_links.c.pause_id)
        .where(
            sign_in_links.c.hash.in_(by_hash),
            sign_in_links.c.expires_at > now,
            pauses.c.id == pause_id,
            or_(pauses.c.resolved_at.is_(None), pauses.c.resolved_at > now - OUTCOME_SHOWN),
            users.c.disabled_at.is_(None),
        )
    )
    with database.reading() as conn:
        rows = {by_hash[bytes(row["hash"])]: row for row in conn.execute(query).mappings()}
    token = next((token for token in tokens if token in rows), None)
    if token is None:
        return None
    person = person_of(rows[token], auth=Authentication.REVIEW_LINK)
    return BrowserSession(token, person, rows[token]["id"], pause_id)


def review_of_link(database: Database, token: str) -> UUID | None:
    """Return the pause of a review link, even if the link has expired."""
    query = select(sign_in_links.c.pause_id).where(sign_in_links.c.hash == hash_of(token))
    with database.reading() as conn:
        return conn.execute(query).scalar_one_or_none()


def remove_links(uow: UnitOfWork, user_id: UUID, *, reviews: bool) -> None:
    """Remove the person's sign-in links and, with `reviews`, their review links."""
    wanted = delete(sign_in_links).where(sign_in_links.c.user_id == user_id)
    uow.conn.execute(wanted if reviews else wanted.where(sign_in_links.c.pause_id.is_(None)))


def _usable(token: str, now: Any) -> list[ColumnElement[bool]]:
    columns = sign_in_links.c
    return [
        columns.hash == hash_of(token),
        columns.used_at.is_(None),
        columns.pause_id.is_(None),
        columns.expires_at > now,
    ]
