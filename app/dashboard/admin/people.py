"""/people: the people who may sign in, with their roles."""

from typing import Any

from flask import redirect

from app.dashboard.framework.form_fields import lines, namespaces, role, text, ticked, words
from app.dashboard.framework.lists import next_link, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from app.notification_channels import check_channels
from domain.identity.access import Permission
from domain.identity.person import ROLES
from services.identity.groups import list_groups
from services.identity.people import (
    PersonChange,
    change_person,
    create_person,
    get_person,
    list_people,
    make_sign_in_link,
    sign_out_everywhere,
)

MANAGE = Permission.PEOPLE_MANAGE


@page("GET", "/people", permission=MANAGE)
def people() -> Any:
    found = list_people(deps().database, person(), wanted_page())
    return render("people.html", people=found.items, next_link=next_link(found), roles=ROLES, groups=_groups())


@page("POST", "/people", permission=MANAGE)
def add_person() -> Any:
    """Add a person and show their sign-in link."""
    new = PersonChange(
        email=text("email"),
        name=text("name"),
        role=role(),
        namespaces=namespaces(),
        groups=words("groups"),
        channels=lines("channels"),
    )
    check_channels(new.channels)
    made, _ = create_person(deps().database, person(), new)
    return _with_link(made["id"])


@page("GET", "/people/<person_id>", permission=MANAGE)
def one_person(person_id: str) -> Any:
    return _show(person_id)


@page("POST", "/people/<person_id>", permission=MANAGE)
def edit_person(person_id: str) -> Any:
    """Change a person; admins cannot change their own role and namespaces."""
    own = person_id == person().id
    channels = () if ticked("no_channels") else lines("channels") or None
    check_channels(channels)
    change = PersonChange(
        email=text("email"),
        name=text("name"),
        role=None if own else role(),
        namespaces=None if own else namespaces(),
        groups=words("groups"),
        channels=channels,
    )
    change_person(deps().database, person(), person_id, change)
    return redirect(f"/people/{person_id}", 303)


@page("POST", "/people/<person_id>/link", permission=MANAGE)
def link_person(person_id: str) -> Any:
    return _with_link(person_id)


@page("POST", "/people/<person_id>/sign-out", permission=MANAGE)
def sign_out_person(person_id: str) -> Any:
    ended = sign_out_everywhere(deps().database, person(), person_id)["sessions"]
    return _show(person_id, notice=f"Signed out of {ended} browser{'' if ended == 1 else 's'}.")


@page("POST", "/people/<person_id>/disable", permission=MANAGE)
def disable_person(person_id: str) -> Any:
    return _disable(person_id, disabled=True)


@page("POST", "/people/<person_id>/enable", permission=MANAGE)
def enable_person(person_id: str) -> Any:
    return _disable(person_id, disabled=False)


@page("POST", "/people/<person_id>/remove-password", permission=MANAGE)
def remove_password(person_id: str) -> Any:
    change_person(deps().database, person(), person_id, PersonChange(remove_password=True))
    return redirect(f"/people/{person_id}", 303)


def _disable(person_id: str, *, disabled: bool) -> Any:
    change_person(deps().database, person(), person_id, PersonChange(disabled=disabled))
    return redirect(f"/people/{person_id}", 303)


def _with_link(person_id: str) -> Any:
    return _show(person_id, link=make_sign_in_link(deps().database, person(), person_id))


def _show(person_id: str, link: dict[str, Any] | None = None, notice: str | None = None) -> Any:
    found = get_person(deps().database, person(), person_id)
    return render("person.html", found=found, roles=ROLES, groups=_groups(), sign_in_link=link, notice=notice)


def _groups() -> list[str]:
    return [group["name"] for group in list_groups(deps().database)]
