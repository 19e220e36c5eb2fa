"""What every page has: who is signed in, the guard against forged forms, and the security headers."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, render_template, request
from markupsafe import Markup

from app.dashboard.framework import cookies, csrf
from app.deps import deps
from app.http.middleware import KEY_ID
from domain.identity.access import Permission, Principal, who_may
from domain.values import ids
from domain.values.errors import Forbidden
from services.identity.sessions import BrowserSession, find_session
from services.identity.sign_in_links import find_review_link
from services.kernel.connection_pool import DatabaseUnavailable
from services.operations.health import anybody_works
from services.sagas.queries import count_needing_operator

T = TypeVar("T")

dashboard = Blueprint(
    "dashboard", "app.dashboard", template_folder="templates", static_folder="assets", static_url_path="/assets"
)

# Nothing from elsewhere, nothing inline: what slips into a page as text stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


# Enter in a field presses the first submit button of its form: this one, which sends nothing, with scripts and without
# (a form outside of a dialog has no dialog to close). A disabled one is passed over from a checkbox or a date, and one
# that is not rendered in some browsers.
NO_DEFAULT = Markup(
    '<button class="no-default" formmethod="dialog" formnovalidate tabindex="-1" aria-hidden="true"></button>'
)

# Someone opens the links of several messages in as many tabs.
MAX_LINKS = 5


def page(
    method: str, path: str, *, permission: Permission | None, link_ok: bool = False, by_itself: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a page for signed-in people.

    Args:
        permission: None: everyone who is signed in may.
        link_ok: whoever came by the link of the review that the path names (`watch_id`) may too.
        by_itself: a script asks, again and again, without anybody doing anything: it keeps no idle session alive.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(**parts: str) -> Any:
            session = signed_in(active=not by_itself) or (came_by_link(parts["watch_id"]) if link_ok else None)
            if session is None:
                return to_sign_in()
            _remember(session)
            if permission is not None and not session.person.may(permission):
                raise Forbidden(f"your role, {session.person.role}, may not do this: it takes {who_may(permission)}")
            if method != "GET":
                csrf.check_csrf(session.token)
            return view(**parts)

        guarded.permission = permission  # type: ignore[attr-defined]
        guarded.signed_in = True  # type: ignore[attr-defined]
        dashboard.add_url_rule(path, f"{view.__name__}_{method.lower()}", guarded, methods=[method])
        return view

    return decorate


def signed_in(*, active: bool = True) -> BrowserSession | None:
    token = cookies.cookie(cookies.SESSION)
    return None if token is None else find_session(deps().database, token, active=active)


def came_by_link(watch_id: str) -> BrowserSession | None:
    """Whom a link, which was opened before, lets see this one review."""
    tokens, pause_id = link_tokens(), ids.parse(ids.WATCH, watch_id)
    return find_review_link(deps().database, tokens, pause_id) if tokens and pause_id else None


def link_tokens() -> list[str]:
    """Of the reviews' links that were opened in this browser lately."""
    held = cookies.cookie(cookies.LINK)
    return held.split(".")[:MAX_LINKS] if held else []


def _remember(session: BrowserSession) -> None:
    """For the view, the template, the audit log and the request's line in the log."""
    g.session = session
    g.principal = replace(session.person, where=request.remote_addr)
    g.csrf_secret = session.token
    request.environ[KEY_ID] = session.person.id


def person() -> Principal:
    return cast(Principal, g.principal)


def own_session() -> BrowserSession:
    return cast(BrowserSession, g.session)


def to_sign_in() -> Any:
    wanted = request.full_path.rstrip("?") if request.method == "GET" else "/inbox"
    return redirect("/sign-in?" + urlencode({"next": wanted}), 303)


def render(template: str, status: int = 200, **values: Any) -> Response:
    """`by_link` tells the template that this person sees one review only, and no other page."""
    secret: str | None = g.get("csrf_secret")
    session: BrowserSession | None = g.get("session")
    token = "" if secret is None else csrf.csrf_token(secret)
    field = Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, token)

    def csrf_field(*, enter: bool = False) -> Markup:
        """The first thing in each form that is posted. `enter`: Enter in a field may send it, by its first button."""
        return field if enter else field + NO_DEFAULT

    known = {
        "sagas_waiting": lambda: _if_there(lambda: count_needing_operator(deps().database, person()), 0),
        "anybody_works": lambda: _if_there(lambda: anybody_works(deps().database), True),
        "person": g.get("principal"),
        "by_link": session is not None and session.pause_id is not None,
        "csrf_field": csrf_field,
        "Permission": Permission,
    }
    html = render_template(template, **known, **values)
    headers = {"Content-Security-Policy": POLICY}
    return Response(html, status, headers, content_type="text/html; charset=utf-8")


def _if_there(look: Callable[[], T], otherwise: T) -> T:
    """The page which says that the database is away has a frame too."""
    try:
        return look()
    except DatabaseUnavailable:
        return otherwise
