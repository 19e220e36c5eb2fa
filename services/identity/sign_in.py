"""Sign in by password or by the identity provider, and change one's own password and absence."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, true, update

from domain.identity.access import ALL_NAMESPACES, Principal
from domain.identity.person import Identity, normal_email
from domain.log.audit import EVERYWHERE
from domain.values import ids
from domain.values.errors import Conflict, FieldError, Invalid
from models.people import groups, person_of, users
from services.identity.login_throttle import count_attempt, forget_attempts
from services.identity.passwords import hash_password, is_outdated, is_password
from services.identity.sessions import SignInOrigin, end_all_sessions, open_session
from services.identity.sign_in_links import remove_links
from services.kernel.unit_of_work import Database, UnitOfWork


class SignInRefused(Exception):
    """A sign-in failed. A wrong password and an unknown person look the same, to hide who has an account.

    Attributes:
        why: for a sign-in by the provider, `unknown` person or `unverified` address.
    """

    def __init__(self, why: str = "unknown") -> None:
        super().__init__(why)
        self.why = why


def sign_in(database: Database, email: str, password: str, place: SignInOrigin) -> tuple[str, Principal]:
    """Sign in. Return the session's token and the person. Raise `SignInRefused`, `TooManyAttempts`."""
    wanted = normal_email(email)
    count_attempt(database, wanted or email, place.address)
    with database.reading() as conn:
        row = conn.execute(select(users).where(users.c.email == (wanted or ""))).mappings().one_or_none()
    # Hashing takes long, so it holds no connection.
    stored = None if row is None or row["disabled_at"] else row["password_hash"]
    if not is_password(password, stored) or row is None:
        _record_failure(database, row, place, "password")
        raise SignInRefused
    fresh = hash_password(password) if is_outdated(row["password_hash"]) else row["password_hash"]
    with database.transaction() as uow:
        # The person may have been disabled, or their password changed, since the row was read.
        same = users.c.id == row["id"], users.c.disabled_at.is_(None), users.c.password_hash == row["password_hash"]
        now = uow.conn.execute(update(users).where(*same).values(password_hash=fresh).returning(*users.c))
        person = now.mappings().one_or_none()
        if person is None:
            raise SignInRefused
        forget_attempts(uow, row["email"], place.address)
        principal = person_of(person, place.address)
        return open_session(uow, principal, row["id"], place, "password"), principal


def sign_in_as(database: Database, identity: Identity, place: SignInOrigin) -> tuple[str, Principal]:
    """Sign in a person whom the identity provider has identified and an admin has created. Raise `SignInRefused`.

    The first time the verified e-mail address identifies them, and later the provider's own id.
    """
    with database.transaction() as uow:
        row = _person_of(uow, identity)
        if row is not None:
            if row["oidc_subject"] is None:
                uow.conn.execute(update(users).where(users.c.id == row["id"]).values(oidc_subject=identity.subject))
            person = _with_groups(uow, person_of(row, place.address), row["id"], identity.groups)
            return open_session(uow, person, row["id"], place, "provider"), person
    _record_failure(database, None, place, "provider")
    raise SignInRefused("unknown" if identity.email_verified or identity.email is None else "unverified")


def _with_groups(uow: UnitOfWork, person: Principal, user_id: UUID, told: tuple[str, ...] | None) -> Principal:
    """Replace the person's groups by those that the provider names and that exist. `told`: None leaves them."""
    if told is None:
        return person
    known = select(groups.c.name).where(groups.c.name.in_(told)).order_by(groups.c.name)
    now = tuple(uow.conn.execute(known).scalars())
    if set(now) == set(person.groups):
        return person
    uow.conn.execute(update(users).where(users.c.id == user_id).values(groups=list(now)))
    uow.record(None, EVERYWHERE, "person.changed", person.id, changed=["groups"], groups=list(now), by_provider=True)
    return replace(person, groups=now)


def set_password(database: Database, by: Principal, token: str, current: str, new: str) -> None:
    """Set the caller's own password, and end their other sessions."""
    user_id = _own_id(by)
    with database.reading() as conn:
        stored = conn.execute(select(users.c.password_hash).where(users.c.id == user_id)).scalar_one()
    if stored is not None:
        # A stolen session must not help to guess the password.
        count_attempt(database, by.email or by.id, by.where)
        if not is_password(current, stored):
            raise Invalid([FieldError("current", "is not your password")])
    fresh = hash_password(new, "new")
    with database.transaction() as uow:
        unchanged = users.c.password_hash.is_not_distinct_from(stored)
        if not uow.conn.execute(
            update(users).where(users.c.id == user_id, unchanged).values(password_hash=fresh)
        ).rowcount:
            raise Conflict("your password was just changed elsewhere")
        forget_attempts(uow, by.email or by.id, by.where if stored is not None else None)
        end_all_sessions(uow, by, user_id, keep=token)
        remove_links(uow, user_id, reviews=False)
        uow.record(by, EVERYWHERE, "password.changed", by.id)


def sign_out_others(database: Database, by: Principal, token: str | None) -> None:
    """End the caller's sessions except the one with this token, and remove their links, which may be open elsewhere."""
    with database.transaction() as uow:
        end_all_sessions(uow, by, _own_id(by), keep=token)
        remove_links(uow, _own_id(by), reviews=True)


def own_absence(database: Database, by: Principal) -> dict[str, Any]:
    delegate = users.alias("delegate")
    query = (
        select(users.c.away_until, users.c.password_hash, delegate.c.email)
        .outerjoin(delegate, delegate.c.id == users.c.delegate_id)
        .where(users.c.id == _own_id(by))
    )
    with database.reading() as conn:
        row = conn.execute(query).one()
    return {"until": row.away_until, "delegate": row.email, "has_password": row.password_hash is not None}


def set_absence(database: Database, by: Principal, until: datetime | None, delegate: str) -> None:
    """Set the caller's absence. Until then their delegate may vote for them. `until`: None ends the absence."""
    with database.transaction() as uow:
        if until is not None and until <= uow.now:
            raise Invalid([FieldError("until", "is not in the future")])
        delegate_id = None
        if delegate.strip():
            wanted = users.c.email == (normal_email(delegate) or ""), users.c.disabled_at.is_(None)
            found = select(users.c.id).where(*wanted, _meets(by))
            delegate_id = uow.conn.execute(found).scalar_one_or_none()
            if delegate_id is None or delegate_id == _own_id(by):
                raise Invalid(
                    [FieldError("delegate", "is not the address of another active person in your namespaces")]
                )
        values = {"away_until": until, "delegate_id": delegate_id}
        uow.conn.execute(update(users).where(users.c.id == _own_id(by)).values(values))
        after = {
            "away_until": None if until is None else until.isoformat(),
            "delegate": None if delegate_id is None else ids.text(ids.USER, delegate_id),
        }
        uow.record(by, EVERYWHERE, "person.changed", by.id, **after)


def _meets(by: Principal) -> ColumnElement[bool]:
    """Return a condition: the person shares a namespace with the caller. Others must not be revealed."""
    return true() if by.sees_all else users.c.namespaces.overlap([*by.namespaces, ALL_NAMESPACES])


def _person_of(uow: UnitOfWork, identity: Identity) -> RowMapping | None:
    active = select(users).where(users.c.disabled_at.is_(None)).with_for_update()
    bound = uow.conn.execute(active.where(users.c.oidc_subject == identity.subject)).mappings().one_or_none()
    if bound is not None:
        return bound
    email = normal_email(identity.email or "")
    if email is None or not identity.email_verified:
        return None
    # An address may have been given to another account of the provider, so a bound person is not found by it.
    unbound = active.where(users.c.email == email, users.c.oidc_subject.is_(None))
    return uow.conn.execute(unbound).mappings().one_or_none()


def _record_failure(database: Database, row: RowMapping | None, place: SignInOrigin, way: str) -> None:
    """Record a failed sign-in. An unknown e-mail is left out, because people type passwords into that field."""
    subject = "unknown" if row is None else ids.text(ids.USER, row["id"])
    with database.transaction() as uow:
        uow.record(None, EVERYWHERE, "sign_in.failed", subject, way=way, address=place.address)


def _own_id(by: Principal) -> UUID:
    id_ = ids.parse(ids.USER, by.id)
    assert id_ is not None, "only people have pages"
    return id_
