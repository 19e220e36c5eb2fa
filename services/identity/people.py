"""People: created, changed and disabled by admins. An admin manages people whose namespaces are all their own."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from domain.delivery.notification import masked
from domain.identity.access import Principal, Role
from domain.identity.person import MAX_GROUPS, ROLES, channel_errors, name_errors, normal_email
from domain.log.audit import EVERYWHERE
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, TooMany
from models.people import groups, users
from services.identity.login_throttle import count
from services.identity.sessions import end_all_sessions
from services.identity.sign_in_links import LINK_LASTS, make_link, remove_links
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.tenancy import manages
from services.kernel.unit_of_work import Database, UnitOfWork


class EmailTaken(Conflict):
    """A person with this e-mail address exists already."""

    code = "EMAIL_TAKEN"


class PersonNotManaged(Conflict):
    """Only an admin of all namespaces can create this person or make this change: ask one."""

    code = "PERSON_NOT_YOURS"


class TooManyAddresses(TooMany):
    """Too many e-mail addresses were refused in your namespaces: try again later, or ask an admin of all of them."""

    code = "TOO_MANY_ADDRESSES"


class NotOneself(Conflict):
    """You cannot disable yourself or change your own role or namespaces: ask another admin."""

    code = "NOT_ONESELF"


@dataclass(frozen=True, slots=True)
class PersonChange:
    """The fields to set; None leaves one as it is. A new person needs `email`, `name`, `role` and `namespaces`.

    Attributes:
        remove_password: remove a forgotten password. Only the person can set another one.
    """

    email: str | None = None
    name: str | None = None
    role: Role | None = None
    namespaces: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    disabled: bool | None = None
    remove_password: bool | None = None


# Allows for typing errors. At this pace it takes a week to try a thousand addresses.
REFUSED_ADDRESSES, WITHIN = 5, timedelta(hours=1)
_NO_COLUMNS = frozenset({"disabled", "remove_password"})


def create_person(
    database: Database, by: Principal, new: PersonChange, idempotency: IdempotentRequest | None = None
) -> tuple[dict[str, Any], bool]:
    """Create a person. Return their document, and whether the request was a repeated one."""
    _check_reach(by, new)
    try:
        _check_address(database, by, new, idempotency)
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, idempotency)
            known = {"id": uow.new_id(), "created_at": uow.now, "created_by": by.id, "groups": [], "channels": []}
            made = _written(uow, by, new, insert(users).values(known | _columns(uow, new)).returning(*users.c))
            document = person_document(made)
            uow.record(by, EVERYWHERE, "person.created", document["id"], after=document)
            store_response(uow, by.own_namespace, idempotency, document)
    except RepeatedRequest as repeated:
        return repeated.answer, True
    return document, False


def list_people(database: Database, by: Principal, page: Page, email: str | None = None) -> Slice[dict[str, Any]]:
    query = select(users).where(manages(by, users))
    if email is not None:
        query = query.where(users.c.email == (normal_email(email) or ""))
    return newest_first(database, query, users.c.id, page, person_document)


def get_person(database: Database, by: Principal, person_id: str) -> dict[str, Any]:
    query = select(users).where(users.c.id == ids.parse(ids.USER, person_id), manages(by, users))
    with database.reading() as conn:
        row = conn.execute(query).mappings().one_or_none()
    return person_document(_there(row, person_id))


def change_person(database: Database, by: Principal, person_id: str, change: PersonChange) -> dict[str, Any]:
    """Change a person. Disabling one ends all their sessions and removes their links.

    A change of the address or of a channel removes their links as well.
    """
    _check_reach(by, change)
    _check_address(database, by, change)
    with database.transaction() as uow:
        before = _locked(uow, by, person_id)
        columns = _columns(uow, change)
        if change.disabled is not None:
            columns["disabled_at"] = (before["disabled_at"] or uow.now) if change.disabled else None
        if change.remove_password:
            columns["password_hash"] = None
        changed = {name for name, value in columns.items() if value != before[name]}
        if person_id == by.id and changed & {"role", "namespaces", "disabled_at"}:
            raise NotOneself
        if not changed:
            return person_document(before)
        row = _written(
            uow, by, change, update(users).where(users.c.id == before["id"]).values(columns).returning(*users.c)
        )
        type_ = "person.changed"
        if "disabled_at" in changed:
            type_ = "person.disabled" if row["disabled_at"] else "person.enabled"
        documents = person_document(before), person_document(row)
        uow.record(by, EVERYWHERE, type_, person_id, before=documents[0], after=documents[1], changed=sorted(changed))
        if row["disabled_at"]:
            end_all_sessions(uow, by, row["id"])
        if row["disabled_at"] or "email" in changed or set(before["channels"]) - set(row["channels"]):
            # These links were sent to a place that is no longer the person's.
            remove_links(uow, row["id"], reviews=True)
        return documents[1]


def make_sign_in_link(database: Database, by: Principal, person_id: str) -> dict[str, Any]:
    """Create a link that signs this person in, once. It is the only way to replace a lost password."""
    with database.transaction() as uow:
        row = _locked(uow, by, person_id)
        if row["disabled_at"]:
            raise Conflict("this person is disabled: enable them first")
        expires_at = uow.now + LINK_LASTS
        token = make_link(uow, row["id"], expires_at)
        uow.record(by, EVERYWHERE, "link.created", person_id)
        return {"url": f"{database.public_url}/sign-in/link/{token}", "expires_at": instant(expires_at)}


def sign_out_everywhere(database: Database, by: Principal, person_id: str) -> dict[str, Any]:
    with database.transaction() as uow:
        row = _locked(uow, by, person_id)
        remove_links(uow, row["id"], reviews=True)
        return {"sessions": end_all_sessions(uow, by, row["id"])}


def person_document(row: RowMapping) -> dict[str, Any]:
    return {
        "id": ids.text(ids.USER, row["id"]),
        "email": row["email"],
        "name": row["name"],
        "role": row["role"],
        "namespaces": list(row["namespaces"]),
        "groups": list(row["groups"]),
        "channels": [masked(channel) for channel in row["channels"]],
        "has_password": row["password_hash"] is not None,
        "away_until": instant_or_none(row["away_until"]),
        "delegate_id": None if row["delegate_id"] is None else ids.text(ids.USER, row["delegate_id"]),
        "created_at": instant(row["created_at"]),
        "created_by": row["created_by"],
        "disabled_at": instant_or_none(row["disabled_at"]),
    }


def _check_reach(by: Principal, change: PersonChange) -> None:
    for namespace in change.namespaces or ():
        if not by.sees(namespace):
            raise Forbidden(f"you have no access to the namespace {namespace!r}, so you cannot grant it")


def _check_address(
    database: Database, by: Principal, change: PersonChange, idempotency: IdempotentRequest | None = None
) -> None:
    """Reject an address of a person whom the caller does not manage.

    The rejection reveals that the address is in use, so each one is recorded and counted. After a few, free addresses
    are rejected too. The count is per namespace, because an admin can create further keys and admins.
    Raise `PersonNotManaged`, `TooManyAddresses`, `RepeatedRequest`.
    """
    email = normal_email(change.email or "")
    if by.sees_all or email is None:
        return
    with database.transaction() as uow:
        get_response(uow, by.own_namespace, idempotency)
        held = _holder(uow, by, email)
        if held is not None and held.known:
            return
        refused = 0 if held is None else 1
        # Sorted, so that two admins of several namespaces cannot deadlock.
        for namespace in sorted(set(by.namespaces)):
            total, over_in = count(uow, f"addresses:{namespace}", REFUSED_ADDRESSES, WITHIN, more=refused)
            if total - refused >= REFUSED_ADDRESSES:
                raise TooManyAddresses(retry_after=over_in)
        if held is None:
            return
        uow.record(by, EVERYWHERE, "person.refused", ids.text(ids.USER, held.id), namespaces=sorted(by.namespaces))
    raise PersonNotManaged


def _holder(uow: UnitOfWork, by: Principal, email: str) -> Any:
    """Return the person with this address, and whether the caller manages them."""
    query = select(users.c.id, manages(by, users).label("known")).where(users.c.email == email)
    return uow.conn.execute(query).one_or_none()


def _columns(uow: UnitOfWork, change: PersonChange) -> dict[str, Any]:
    """Return the columns to write. Raise `Invalid`."""
    if found := list(_field_errors(uow, change)):
        raise Invalid(found)
    given = {field.name: getattr(change, field.name) for field in fields(change) if field.name not in _NO_COLUMNS}
    columns = {name: value for name, value in given.items() if value is not None}
    if change.email is not None:
        columns["email"] = normal_email(change.email)
    if change.role is not None:
        columns["role"] = str(change.role)
    for name in ("namespaces", "groups", "channels"):
        if name in columns:
            columns[name] = list(dict.fromkeys(columns[name]))
    return columns


def _field_errors(uow: UnitOfWork, change: PersonChange) -> Iterator[FieldError]:
    if change.email is not None and normal_email(change.email) is None:
        yield FieldError("email", "is not an e-mail address")
    if change.name is not None:
        yield from name_errors(change.name)
    if change.role is not None and change.role not in ROLES:
        yield FieldError("role", f"must be one of {', '.join(ROLES)}. An agent is a program and uses an API key")
    if change.namespaces is not None and not change.namespaces:
        yield FieldError("namespaces", "needs at least one namespace, or * for all")
    if change.channels is not None:
        yield from channel_errors(change.channels)
    if change.groups:
        known = set(uow.conn.execute(select(groups.c.name).where(groups.c.name.in_(change.groups))).scalars())
        for name in change.groups[:MAX_GROUPS]:
            if name not in known:
                yield FieldError("groups", f"there is no group {name[:64]!r}: create it first")


def _written(uow: UnitOfWork, by: Principal, change: PersonChange, statement: Any) -> RowMapping:
    """Execute the statement. Raise `EmailTaken`, or `PersonNotManaged` if its owner is not the caller's to manage."""
    held = None if change.email is None else _holder(uow, by, normal_email(change.email) or "")
    if held is not None and not held.known:
        raise PersonNotManaged
    try:
        return uow.conn.execute(statement).mappings().one()
    except IntegrityError as error:
        if "uq_users_email" in str(error.orig):
            raise EmailTaken if by.sees_all or held is not None else PersonNotManaged from None
        raise


def _locked(uow: UnitOfWork, by: Principal, person_id: str) -> RowMapping:
    found = users.c.id == ids.parse(ids.USER, person_id), manages(by, users)
    query = select(users).where(*found).with_for_update()
    return _there(uow.conn.execute(query).mappings().one_or_none(), person_id)


def _there(row: RowMapping | None, person_id: str) -> RowMapping:
    if row is None:
        raise NotFound(f"there is no person {person_id[:64]!r} whom you may manage")
    return row
