"""/keys: the API keys of programs."""

from typing import Any

from flask import redirect

from app.dashboard.framework.form_fields import day, namespaces, role, text
from app.dashboard.framework.lists import next_link, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.identity.access import Permission, Role
from domain.values.errors import FieldError, Invalid
from services.identity.keys import OVERLAP, NewKey, create_key, list_keys, revoke_key, rotate_key

MANAGE = Permission.KEY_MANAGE
MAX_NAME = 100


@page("GET", "/keys", permission=MANAGE)
def keys() -> Any:
    return _show()


@page("POST", "/keys", permission=MANAGE)
def add_key() -> Any:
    """Create a key; only this response shows it."""
    new = NewKey(text("name", MAX_NAME), role(), namespaces(), day("expires"))
    if not new.name:
        raise Invalid([FieldError("name", "is missing")])
    return _show(create_key(deps().database, person(), new, None)[0])


@page("POST", "/keys/<key_id>/rotate", permission=MANAGE)
def renew_key(key_id: str) -> Any:
    """Rotate a key; only this response shows the new secret."""
    return _show(rotate_key(deps().database, person(), key_id, OVERLAP, None)[0], rotated=True)


@page("POST", "/keys/<key_id>/revoke", permission=MANAGE)
def end_key(key_id: str) -> Any:
    revoke_key(deps().database, person(), key_id)
    return redirect("/keys", 303)


def _show(made: dict[str, Any] | None = None, *, rotated: bool = False) -> Any:
    found = list_keys(deps().database, person(), wanted_page())
    shown: dict[str, Any] = {"keys": found.items, "made": made, "rotated": rotated}
    return render("admin_keys.html", next_link=next_link(found), roles=list(Role), **shown)
