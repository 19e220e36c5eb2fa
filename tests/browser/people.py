"""People for the tests: rows in the stack's database, as a sign-in leaves them. Signing in has tests of its own."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import insert

from app.dashboard.framework.cookies import SESSION
from domain.values import ids
from models.people import sessions, users
from services.identity.tokens import hash_of
from services.kernel.unit_of_work import Database

if TYPE_CHECKING:
    from playwright.sync_api import SetCookieParam


@dataclass(frozen=True, slots=True)
class Person:
    user_id: UUID
    name: str
    email: str
    token: str

    @property
    def id(self) -> str:
        return ids.text(ids.USER, self.user_id)

    def cookie(self, url: str) -> "SetCookieParam":
        return {"name": SESSION, "value": self.token, "url": url, "httpOnly": True, "sameSite": "Lax"}


def add_person(
    database: Database, role: str, *, namespaces: Sequence[str], name: str = "Rita Ray", groups: Sequence[str] = ()
) -> Person:
    token = secrets.token_urlsafe(32)
    with database.transaction() as uow:
        id_ = uow.new_id()
        email = f"{id_.hex}@example.com"
        row = {
            "id": id_,
            "created_at": uow.now,
            "email": email,
            "name": name,
            "role": role,
            "namespaces": list(namespaces),
            "groups": list(groups),
            "channels": [],
            "created_by": "key_test",
        }
        uow.conn.execute(insert(users).values(row))
        lasts = {"created_at": uow.now, "seen_at": uow.now, "expires_at": uow.now + timedelta(days=1)}
        uow.conn.execute(insert(sessions).values({"hash": hash_of(token), "user_id": id_, **lasts}))
    return Person(id_, name, email, token)
