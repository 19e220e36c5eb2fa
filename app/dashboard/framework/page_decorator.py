"""The frame of every page: the signed-in person, the guard against forged forms, and the security headers."""

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

# Nothing from other sites and nothing inline, so that injected text cannot run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


# Enter in a field presses the first submit button of its form. This button is first and sends nothing, with scripts and
# without: a form outside a dialog has no dialog to close. Browsers skip a disabled button in some fields, and some
# browsers skip one that is not rendered.
NO_DEFAULT = Markup(
    '<button class="no-default" formmethod="dialog" formnovalidate tabindex="-1" aria-hidden="true"></button>'
)

# A person may open the links of several messages in as many tabs.
MAX_LINKS = 5


def page(
    method: str, path: str, *, permission: Permission | None, link_ok: bool = False, by_itself: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a page for signed-in people.

    Args:
        permission: the required permission; None admits every signed-in person.
        link_ok: also admit a browser that opened the link to the review in the path (`watch_id`).
        by_itself: a script polls the page, so a request does not keep an idle session alive.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(**parts: str) -> Any:
            session = signed_in(active=not by_itself) or (came_by_link(parts["watch_id"]) if link_ok else None)
            if session is None:
                return to_sign_in()
            _set_principal(session)
            if permission is not None and not session.person.may(permission):
                raise Forbidden(f"your role, {session.person.role}, may not do this; it needs {who_may(permission)}")
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
    """Return the session of a browser that opened a link to this review."""
    tokens, pause_id = link_tokens(), ids.parse(ids.WATCH, watch_id)
    return find_review_link(deps().database, tokens, pause_id) if tokens and pause_id else None


def link_tokens() -> list[str]:
    """Return the tokens of the links that this browser opened lately."""
    tokens = cookies.cookie(cookies.LINK)
    return tokens.split(".")[:MAX_LINKS] if tokens else []


def _set_principal(session: BrowserSession) -> None:
    """Store the person for the view, the template, the audit log and the request log."""
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
    """Render a page. `by_link` tells the template that this person may see only one review."""
    secret: str | None = g.get("csrf_secret")
    session: BrowserSession | None = g.get("session")
    token = "" if secret is None else csrf.csrf_token(secret)
    field = Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, token)

    def csrf_field(*, enter: bool = False) -> Markup:
        """Return the first element of each POST form. `enter`: Enter in a field may press the form's first button."""
        return field if enter else field + NO_DEFAULT

    common = {
        "sagas_waiting": lambda: _or_default(lambda: count_needing_operator(deps().database, person()), 0),
        "anybody_works": lambda: _or_default(lambda: anybody_works(deps().database), True),
        "person": g.get("principal"),
        "by_link": session is not None and session.pause_id is not None,
        "csrf_field": csrf_field,
        "Permission": Permission,
    }
    html = render_template(template, **common, **values)
    headers = {"Content-Security-Policy": POLICY}
    return Response(html, status, headers, content_type="text/html; charset=utf-8")


def _or_default(query: Callable[[], T], default: T) -> T:
    """Return the query's result, or the default without a database: the error page uses this frame too."""
    try:
        return query()
    except DatabaseUnavailable:
        return default
