"""Sign-in by password, by a sign-in link or by the link to a review, and sign-out."""

import secrets
from datetime import timedelta
from typing import Any

from flask import Response, g, redirect, request

from app.dashboard.framework import cookies, csrf
from app.dashboard.framework.page_decorator import (
    MAX_LINKS,
    dashboard,
    link_tokens,
    own_session,
    page,
    render,
    signed_in,
)
from app.deps import deps
from domain.identity.person import MAX_EMAIL
from domain.values import ids
from services.identity.sessions import ABSOLUTE, SignInOrigin, end_session
from services.identity.sign_in import SignInRefused, sign_in
from services.identity.sign_in_links import LinkExpired, find_review_link, link_is_good, review_of_link, use_link

HOME = "/inbox"
# A sign-in form that was open for longer has expired.
FORM_LASTS = timedelta(hours=12)
# Longer than a link to a review lasts; the server knows when the link expires.
LINK_COOKIE_LASTS = timedelta(days=30)
MAX_BROWSER = 300


@dashboard.get("/")
def home() -> Any:
    return redirect(HOME, 303)


@dashboard.get("/sign-in")
def sign_in_page() -> Any:
    wanted = local_path(request.args.get("next"))
    if signed_in() is not None:
        return redirect(wanted, 303)
    return _form(wanted)


@dashboard.post("/sign-in")
def sign_in_by_password() -> Any:
    check_form()
    email, wanted = request.form.get("email", ""), local_path(request.form.get("next"))
    try:
        session, _ = sign_in(deps().database, email, request.form.get("password", ""), place())
    except SignInRefused:
        field_error = "The e-mail or password is wrong."
        return _form(wanted, field_error, email[:MAX_EMAIL], 401)
    return let_in(session, wanted)


@dashboard.get("/sign-in/link/<token>")
def sign_in_link_page(token: str) -> Response:
    """Ask for a click: mail scanners open links, and must not use up this one."""
    if not link_is_good(deps().database, token):
        raise LinkExpired
    return with_form_cookie("sign_in_link.html")


@dashboard.post("/sign-in/link/<token>")
def use_sign_in_link(token: str) -> Any:
    check_form()
    session, _ = use_link(deps().database, token, place())
    return let_in(session, HOME)


@dashboard.get("/r/<token>")
def open_review_link(token: str) -> Any:
    """Redirect from a message to its review. Opening the link changes nothing; it only admits the browser."""
    database = deps().database
    pause_id = review_of_link(database, token)
    if pause_id is not None and signed_in() is not None:
        return redirect(review_path(ids.text(ids.WATCH, pause_id)), 303)
    if pause_id is None or find_review_link(database, [token], pause_id) is None:
        return render("link_ended.html", 404 if pause_id is None else 410)
    response = redirect(review_path(ids.text(ids.WATCH, pause_id)), 303)
    tokens = [token, *(other for other in link_tokens() if other != token)][:MAX_LINKS]
    cookies.set_cookie(response, cookies.LINK, ".".join(tokens), LINK_COOKIE_LASTS)
    return response


@page("POST", "/sign-out", permission=None)
def sign_out() -> Any:
    end_session(deps().database, own_session())
    response = redirect("/sign-in", 303)
    cookies.drop_sign_in(response)
    return response


def review_path(watch_id: str) -> str:
    return f"/review/{watch_id}"


def _form(wanted: str, field_error: str | None = None, email: str = "", status: int = 200) -> Response:
    has_provider = deps().provider is not None
    return with_form_cookie(
        "sign_in.html", status, next=wanted, email=email, field_error=field_error, has_provider=has_provider
    )


def place() -> SignInOrigin:
    return SignInOrigin(request.remote_addr, request.user_agent.string[:MAX_BROWSER] or None)


def let_in(token: str, path: str) -> Any:
    """Set the new session's cookie and end the browser's previous session."""
    before = signed_in()
    if before is not None:
        end_session(deps().database, before)
    response = redirect(path, 303)
    cookies.set_cookie(response, cookies.SESSION, token, ABSOLUTE)
    cookies.drop_cookie(response, cookies.PRE)
    return response


def with_form_cookie(template: str, status: int = 200, **values: Any) -> Response:
    """Render a form for browsers that are not signed in, guarded against sign-in from another site."""
    secret = cookies.cookie(cookies.PRE) or secrets.token_urlsafe(32)
    g.csrf_secret = secret
    response = render(template, status, **values)
    cookies.set_cookie(response, cookies.PRE, secret, FORM_LASTS)
    return response


def check_form() -> None:
    """Check the form's token; without the cookie no token is valid."""
    csrf.check_csrf(cookies.cookie(cookies.PRE) or secrets.token_urlsafe(32))


def local_path(text: str | None) -> str:
    """Return a local path, or the inbox. Browsers read `//host` and `/\\host` as another site."""
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return HOME
    return text
