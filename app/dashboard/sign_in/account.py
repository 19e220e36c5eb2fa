"""/account: the person's own password, absence and signed-in browsers."""

from typing import Any

from flask import redirect, request

from app.dashboard.framework import cookies
from app.dashboard.framework.form_fields import day, text
from app.dashboard.framework.page_decorator import own_session, page, person, render
from app.deps import deps
from services.identity import sessions
from services.identity.passwords import MAX_LENGTH, MIN_LENGTH
from services.identity.sign_in import own_absence, set_absence, set_password, sign_out_others


@page("GET", "/account", permission=None)
def account() -> Any:
    return _show()


@page("POST", "/account/password", permission=None)
def change_password() -> Any:
    """Set a password exactly as typed, including blanks."""
    current, new = request.form.get("current", ""), request.form.get("new", "")
    set_password(deps().database, person(), own_session().token, current, new)
    return _show("Your password is set. Your other browsers are signed out.")


@page("POST", "/account/absence", permission=None)
def change_absence() -> Any:
    set_absence(deps().database, person(), day("until"), text("delegate"))
    return redirect("/account", 303)


@page("POST", "/account/sessions/<session_id>/end", permission=None)
def end_session(session_id: str) -> Any:
    sessions.end_own_session(deps().database, person(), session_id)
    return redirect("/account", 303)


@page("POST", "/account/sign-out-everywhere", permission=None)
def sign_out_everywhere() -> Any:
    """End all sessions of the person, including this one."""
    sign_out_others(deps().database, person(), None)
    response = redirect("/sign-in", 303)
    cookies.drop_sign_in(response)
    return response


def _show(notice: str | None = None) -> Any:
    database, session = deps().database, own_session()
    return render(
        "account.html",
        notice=notice,
        sessions=sessions.list_sessions(database, session.user_id, session.token),
        absence=own_absence(database, person()),
        lengths=(MIN_LENGTH, MAX_LENGTH),
    )
