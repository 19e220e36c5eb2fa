"""The person's own page: who they are, and the browsers that they are signed in with."""

from typing import Any

from flask import redirect

from app.dashboard.frame import own_session, page, person, render
from app.deps import deps
from services import sessions


@page("GET", "/account", permission=None)
def account() -> Any:
    mine = sessions.list_sessions(deps().store, own_session().user_id, own_session().token)
    return render("account.html", sessions=mine)


@page("POST", "/account/sessions/<session_id>/end", permission=None)
def end_session(session_id: str) -> Any:
    sessions.end_own_session(deps().store, person(), session_id)
    return redirect("/account", 303)
