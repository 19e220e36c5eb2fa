"""People and keys that vote."""

from datetime import datetime
from typing import Any

from domain.identity.access import Principal, Role
from domain.values import ids
from services.identity.keys import NewKey, create_key
from services.kernel.unit_of_work import Database
from tests.services.people import person
from tests.services.world import ADMIN


def voter(database: Database, name: str, *groups: str, **more: Any) -> Principal:
    """A person with an account. `anne` is anne@example.com."""
    id_ = person(database, name, groups=list(groups), **more)
    namespaces = tuple(more.get("namespaces", ("default",)))
    role = Role(more.get("role", "reviewer"))
    return Principal(ids.text(ids.USER, id_), name.title(), role, namespaces, f"{name}@example.com", groups)


def key(database: Database, name: str, role: Role = Role.REVIEWER, expires_at: datetime | None = None) -> Principal:
    """A key that is stored."""
    made, _ = create_key(database, ADMIN, NewKey(name, role, ("default",), expires_at), None)
    return Principal(made["id"], name, role, ("default",))
