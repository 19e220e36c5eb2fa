"""The owner of a new installation, and the link that lets them in."""

from sqlalchemy import insert, select

from domain.identity.access import ALL_NAMESPACES, Role
from domain.log.audit import EVERYWHERE
from domain.values import ids
from models.people import users
from services.identity.people import person_document
from services.identity.sign_in_links import LINK_LASTS, make_link
from services.kernel.unit_of_work import Store, Tx

OWNER = "owner@localhost"


def first_sign_in_link(store: Store) -> str | None:
    """A one-time link for whoever runs the stack: as its oldest admin of everything, who is made where nobody is.

    None where there are people, but no such admin: then an admin's key makes links.
    """
    with store.transaction() as tx:
        tx.wait_for_turn("first person")
        if tx.conn.execute(select(users.c.id).limit(1)).first() is None:
            _make_owner(tx)
        admins = (
            select(users.c.id)
            .where(users.c.role == Role.ADMIN, users.c.disabled_at.is_(None))
            .where(users.c.namespaces.contains([ALL_NAMESPACES]))
            .order_by(users.c.id)
            .limit(1)
        )
        admin = tx.conn.execute(admins).scalar_one_or_none()
        if admin is None:
            return None
        tx.record(None, EVERYWHERE, "link.created", ids.text(ids.USER, admin))
        return f"{store.public_url}/sign-in/link/{make_link(tx, admin, tx.now + LINK_LASTS)}"


def _make_owner(tx: Tx) -> None:
    row = {
        "id": tx.new_id(),
        "created_at": tx.now,
        "email": OWNER,
        "name": "Owner",
        "role": str(Role.ADMIN),
        "namespaces": [ALL_NAMESPACES],
        "groups": [],
        "channels": [],
        "created_by": "sagahold up",
    }
    made = tx.conn.execute(insert(users).values(row).returning(*users.c)).mappings().one()
    document = person_document(made)
    tx.record(None, EVERYWHERE, "person.created", document["id"], after=document)
