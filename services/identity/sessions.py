"""Sessions of signed-in browsers. The cookie has the token, and the table its hash."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from domain.identity.access import Authentication, Principal
from domain.log.audit import EVERYWHERE
from domain.pauses.serialization import instant
from domain.values import ids
from domain.values.errors import NotFound
from models.people import person_of, sessions, users
from services.identity.tokens import hash_of, new_token
from services.kernel.unit_of_work import Database, UnitOfWork

# A session ends overnight without use, and after two weeks in any case.
IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=14)
# `seen_at` is written at most this often for one session.
SEEN_RESOLUTION = timedelta(seconds=60)
# By the ways to sign in that sessions and the audit log name.
_AUTHENTICATIONS = {
    "password": Authentication.PASSWORD,
    "provider": Authentication.OIDC,
    "link": Authentication.SIGN_IN_LINK,
}


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A signed-in person.

    Attributes:
        pause_id: set for a session by a review link, which may see only this review.
    """

    token: str
    person: Principal
    user_id: UUID
    pause_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class SignInOrigin:
    """The origin of a sign-in, shown in the person's list of sessions."""

    address: str | None
    browser: str | None


def open_session(uow: UnitOfWork, person: Principal, user_id: UUID, place: SignInOrigin, way: str) -> str:
    """Start a session and return its token. It is always a new one, which prevents session fixation.

    `way`: how the person authenticated (`_AUTHENTICATIONS`), for the audit log and for receipts of their votes.
    """
    token = new_token()
    row = {
        "hash": hash_of(token),
        "user_id": user_id,
        "created_at": uow.now,
        "seen_at": uow.now,
        "expires_at": uow.now + ABSOLUTE,
        "address": place.address,
        "browser": place.browser,
        "way": way,
    }
    uow.conn.execute(insert(sessions).values(row))
    uow.record(person, EVERYWHERE, "session.started", person.id, way=way)
    return token


def find_session(database: Database, token: str, *, active: bool = True) -> BrowserSession | None:
    """Return the session of this token, or None. Write `seen_at` at most once a minute.

    `active`: False for a page that polls by itself, which does not count as use.
    """
    now = func.clock_timestamp()
    stale = (sessions.c.seen_at < now - SEEN_RESOLUTION).label("stale")
    query = (
        select(users, stale, sessions.c.way)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(sessions.c.hash == hash_of(token), *_alive(now), users.c.disabled_at.is_(None))
    )
    with database.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if row["stale"] and active:
        with database.transaction() as uow:
            uow.conn.execute(update(sessions).where(sessions.c.hash == hash_of(token)).values(seen_at=uow.now))
    return BrowserSession(token, person_of(row, auth=_AUTHENTICATIONS.get(row["way"])), row["id"])


def list_sessions(database: Database, user_id: UUID, token: str) -> list[dict[str, Any]]:
    """List the person's sessions, the latest used first. Mark the one with this token."""
    query = select(sessions).where(sessions.c.user_id == user_id, *_alive(func.clock_timestamp()))
    with database.reading() as conn:
        rows = conn.execute(query.order_by(sessions.c.seen_at.desc())).mappings().all()
    return [
        {
            "id": row["hash"].hex(),
            "created_at": instant(row["created_at"]),
            "seen_at": instant(row["seen_at"]),
            "address": row["address"],
            "browser": row["browser"],
            "this": row["hash"] == hash_of(token),
        }
        for row in rows
    ]


def end_session(database: Database, session: BrowserSession) -> None:
    """End this session."""
    with database.transaction() as uow:
        if uow.conn.execute(delete(sessions).where(sessions.c.hash == hash_of(session.token))).rowcount:
            uow.record(session.person, EVERYWHERE, "session.ended", session.person.id, sessions=1)


def end_own_session(database: Database, by: Principal, session_id: str) -> None:
    """End a session of the caller's list. Raise `NotFound` if it is not theirs."""
    try:
        hash_ = bytes.fromhex(session_id)
    except ValueError:
        hash_ = b""
    mine = sessions.c.user_id == ids.parse(ids.USER, by.id)
    with database.transaction() as uow:
        if not uow.conn.execute(delete(sessions).where(sessions.c.hash == hash_, mine)).rowcount:
            raise NotFound("this session has ended already")
        uow.record(by, EVERYWHERE, "session.ended", by.id, sessions=1)


def end_all_sessions(uow: UnitOfWork, by: Principal, user_id: UUID, keep: str | None = None) -> int:
    """End the person's sessions; return how many. `keep`: the token of one to keep."""
    wanted = delete(sessions).where(sessions.c.user_id == user_id)
    if keep is not None:
        wanted = wanted.where(sessions.c.hash != hash_of(keep))
    ended = uow.conn.execute(wanted).rowcount
    if ended:
        uow.record(by, EVERYWHERE, "session.ended", ids.text(ids.USER, user_id), sessions=ended)
    return ended


def _alive(now: Any) -> list[Any]:
    return [sessions.c.expires_at > now, sessions.c.seen_at > now - IDLE]
