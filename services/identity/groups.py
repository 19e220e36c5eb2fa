"""Groups of people who vote on pauses. Groups are global, so only an admin of all namespaces changes them."""

from typing import Any

from sqlalchemy import RowMapping, any_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.delivery.notification import masked
from domain.identity.access import Principal
from domain.identity.person import channel_errors, group_name_errors
from domain.log.audit import EVERYWHERE
from domain.pauses.serialization import instant
from domain.values.errors import Conflict, Forbidden, Invalid, NotFound
from models.people import groups, users
from services.kernel.unit_of_work import Database


class GroupExists(Conflict):
    """A group of this name exists already: change it, or choose another name."""

    code = "GROUP_EXISTS"


# The dashboard shows all groups in one list.
MAX_GROUPS = 500


def list_groups(database: Database) -> list[dict[str, Any]]:
    """List groups by name, each with its number of active people."""
    within = groups.c.name == any_(users.c.groups), users.c.disabled_at.is_(None)
    people = select(func.count()).select_from(users).where(*within).scalar_subquery()
    query = select(groups, people.label("people")).order_by(groups.c.name)
    with database.reading() as conn:
        return [_document(row) | {"people": row["people"]} for row in conn.execute(query).mappings()]


def put_group(
    database: Database,
    by: Principal,
    name: str,
    description: str | None,
    channels: tuple[str, ...] | None,
    *,
    new: bool = False,
) -> dict[str, Any]:
    """Create or change a group. `channels`: None leaves them as they are. `new`: raise `GroupExists` if it exists."""
    _check(by)
    if found := [*group_name_errors("name", name), *channel_errors(channels or (), personal=False)]:
        raise Invalid(found)
    with database.transaction() as uow:
        # One lock for all groups, because they are counted.
        uow.take_advisory_lock("groups")
        columns = {"description": description} | ({} if channels is None else {"channels": list(channels)})
        row = {"name": name, "created_at": uow.now, "created_by": by.id, "channels": [], **columns}
        before = (
            uow.conn.execute(select(groups).where(groups.c.name == name).with_for_update()).mappings().one_or_none()
        )
        if before is not None and new:
            raise GroupExists
        if before is None and uow.conn.execute(select(func.count()).select_from(groups)).scalar_one() >= MAX_GROUPS:
            raise Invalid(detail=f"there are {MAX_GROUPS} groups already: remove one first")
        written = insert(groups).values(row).on_conflict_do_update(index_elements=["name"], set_=columns)
        document = _document(uow.conn.execute(written.returning(*groups.c)).mappings().one())
        was = None if before is None else _document(before)
        type_ = "group.created" if was is None else "group.changed"
        uow.record(by, EVERYWHERE, type_, f"group:{name}", before=was, after=document)
        return document


def delete_group(database: Database, by: Principal, name: str) -> None:
    """Delete a group and remove its people from it. A policy that names it stays, but has no voters there."""
    _check(by)
    with database.transaction() as uow:
        gone = uow.conn.execute(delete(groups).where(groups.c.name == name).returning(*groups.c)).mappings()
        row = gone.one_or_none()
        if row is None:
            raise NotFound(f"there is no group {name[:64]!r}")
        within = users.c.groups.contains([name])
        uow.conn.execute(update(users).where(within).values(groups=func.array_remove(users.c.groups, name)))
        uow.record(by, EVERYWHERE, "group.deleted", f"group:{name}", before=_document(row))


def _check(by: Principal) -> None:
    if not by.sees_all:
        raise Forbidden("a group is for all namespaces: only an admin of all of them changes it")


def _document(row: RowMapping) -> dict[str, Any]:
    return {
        "name": row["name"],
        "description": row["description"],
        "channels": [masked(channel) for channel in row["channels"]],
        "created_at": instant(row["created_at"]),
        "created_by": row["created_by"],
    }
