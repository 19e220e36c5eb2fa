"""The first admin of a new installation, and the sign-in link for them."""

from sqlalchemy import insert, select

from domain.identity.access import ALL_NAMESPACES, Role
from domain.log.audit import EVERYWHERE
from domain.values import ids
from models.people import users
from services.identity.people import person_document
from services.identity.sign_in_links import LINK_LASTS, make_link
from services.kernel.unit_of_work import Database, UnitOfWork

OWNER = "owner@localhost"


def first_sign_in_link(database: Database) -> str | None:
    """Return a one-time sign-in link of the oldest admin of all namespaces. Create that admin if there are no people.

    Return None if there are people but no such admin. An admin's key can then create links.
    """
    with database.transaction() as uow:
        uow.take_advisory_lock("first person")
        if uow.conn.execute(select(users.c.id).limit(1)).first() is None:
            _make_owner(uow)
        admins = (
            select(users.c.id)
            .where(users.c.role == Role.ADMIN, users.c.disabled_at.is_(None))
            .where(users.c.namespaces.contains([ALL_NAMESPACES]))
            .order_by(users.c.id)
            .limit(1)
        )
        admin = uow.conn.execute(admins).scalar_one_or_none()
        if admin is None:
            return None
        uow.record(None, EVERYWHERE, "link.created", ids.text(ids.USER, admin))
        return f"{database.public_url}/sign-in/link/{make_link(uow, admin, uow.now + LINK_LASTS)}"


def _make_owner(uow: UnitOfWork) -> None:
    row = {
        "id": uow.new_id(),
        "created_at": uow.now,
        "email": OWNER,
        "name": "Owner",
        "role": str(Role.ADMIN),
        "namespaces": [ALL_NAMESPACES],
        "groups": [],
        "channels": [],
        "created_by": "sagahold up",
    }
    made = uow.conn.execute(insert(users).values(row).returning(*users.c)).mappings().one()
    document = person_document(made)
    uow.record(None, EVERYWHERE, "person.created", document["id"], after=document)
