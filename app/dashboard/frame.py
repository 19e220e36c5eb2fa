"""What every page has: who is signed in, the guard against forged forms, the security headers, and how errors look."""

import hmac
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, render_template, request
from markupsafe import Markup

from app.deps import deps
from domain.access import Permission, Principal
from domain.errors import Forbidden
from services.sessions import Session, find_session

dashboard = Blueprint(
    "dashboard", __name__, template_folder="templates", static_folder="assets", static_url_path="/assets"
)

# Nothing from elsewhere, nothing inline: what slips into a page as text stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
COOKIE = "sagahold_session"
# A form has it as a field, a script sends it as a header.
CSRF_FIELD, CSRF_HEADER = "csrf_token", "X-CSRF-Token"


def page(
    method: str, path: str, *, permission: Permission | None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a page for signed-in people. `permission` None: everyone who is signed in may."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(**parts: str) -> Any:
            session = signed_in()
            if session is None:
                return to_sign_in()
            g.session, g.principal = session, session.person
            if permission is not None and not session.person.may(permission):
                raise Forbidden(f"your role, {session.person.role}, may not do this")
            if method != "GET":
                check_csrf(session.token)
            return view(**parts)

        guarded.permission = permission  # type: ignore[attr-defined]
        guarded.signed_in = True  # type: ignore[attr-defined]
        dashboard.add_url_rule(path, f"{view.__name__}_{method.lower()}", guarded, methods=[method])
        return view

    return decorate


def signed_in() -> Session | None:
    token = request.cookies.get(COOKIE)
    return None if token is None else find_session(deps().store, token)


def person() -> Principal:
    return cast(Principal, g.principal)


def to_sign_in() -> Any:
    wanted = request.full_path.rstrip("?") if request.method == "GET" else "/inbox"
    return redirect("/sign-in?" + urlencode({"next": wanted}), 303)


def csrf_token(session_token: str) -> str:
    """Follows from the session: whoever cannot read the cookie cannot make it."""
    return hmac.new(session_token.encode(), b"csrf", sha256).hexdigest()


def check_csrf(session_token: str) -> None:
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(), csrf_token(session_token).encode()):
        raise Forbidden("this form has expired: go back, load the page anew and send it again")


def render(template: str, status: int = 200, **values: Any) -> Response:
    session: Session | None = g.get("session")
    token = "" if session is None else csrf_token(session.token)
    field = Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token)
    html = render_template(
        template, person=g.get("principal"), csrf_token=token, csrf_field=lambda: field, Permission=Permission, **values
    )
    headers = {"Content-Security-Policy": POLICY}
    return Response(html, status, headers, content_type="text/html; charset=utf-8")
