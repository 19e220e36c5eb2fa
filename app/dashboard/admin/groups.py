"""/groups: the groups of people that approval policies name."""

from typing import Any

from flask import redirect

from app.dashboard.framework.form_fields import lines, text, ticked
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from app.notification_channels import check_channels
from domain.identity.access import Permission
from services.identity.groups import delete_group, list_groups, put_group

MANAGE = Permission.PEOPLE_MANAGE


@page("GET", "/groups", permission=MANAGE)
def groups() -> Any:
    return render("groups.html", groups=list_groups(deps().database))


@page("POST", "/groups", permission=MANAGE)
def save_group() -> Any:
    """Create the group with this name, or change it."""
    channels = () if ticked("no_channels") else lines("channels") or None
    check_channels(channels)
    put_group(deps().database, person(), text("name"), text("description") or None, channels)
    return redirect("/groups", 303)


@page("POST", "/groups/<name>/delete", permission=MANAGE)
def remove_group(name: str) -> Any:
    delete_group(deps().database, person(), name)
    return redirect("/groups", 303)
