"""/keys: the API keys of programs."""

from typing import Any

from flask import redirect

from app.dashboard.form_fields import day, namespaces, role, text
from app.dashboard.frame import page, person, render
from app.dashboard.lists import next_link, wanted_page
from app.deps import deps
from domain.access import Permission, Role
from domain.errors import Fault, Invalid
from services.keys import NewKey, create_key, list_keys, revoke_key

MANAGE = Permission.KEY_MANAGE
MAX_NAME = 100


@page("GET", "/keys", permission=MANAGE)
def keys() -> Any:
    return _show()


@page("POST", "/keys", permission=MANAGE)
def add_key() -> Any:
    """The answer shows the key, this once."""
    new = NewKey(text("name", MAX_NAME), role(), namespaces(), day("expires"))
    if not new.name:
        raise Invalid([Fault("name", "is missing")])
    return _show(create_key(deps().store, person(), new, None)[0])


@page("POST", "/keys/<key_id>/revoke", permission=MANAGE)
def end_key(key_id: str) -> Any:
    revoke_key(deps().store, person(), key_id)
    return redirect("/keys", 303)


def _show(made: dict[str, Any] | None = None) -> Any:
    found = list_keys(deps().store, person(), wanted_page())
    return render("admin_keys.html", keys=found.items, next_link=next_link(found), made=made, roles=list(Role))
