"""The dashboard's cookies: hidden from scripts, and not sent with requests from other sites except plain links."""

from datetime import timedelta

from flask import request
from werkzeug.wrappers import Response

from app.deps import deps

SESSION = "sagahold_session"
# The tokens of links that each open a single review, latest first.
LINK = "sagahold_link"
# The secret of the sign-in form, for a browser that is not signed in yet.
PRE = "sagahold_pre"
# The state of a sign-in at the identity provider.
OIDC = "sagahold_oidc"


def cookie(name: str) -> str | None:
    return request.cookies.get(_full(name))


def set_cookie(response: Response, name: str, value: str, lasts: timedelta) -> None:
    response.set_cookie(_full(name), value, max_age=lasts, path="/", secure=_is_https(), httponly=True, samesite="Lax")


def drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(_full(name), path="/", secure=_is_https(), httponly=True, samesite="Lax")


def drop_sign_in(response: Response) -> None:
    """Remove all access from this browser, including the links to reviews."""
    drop_cookie(response, SESSION)
    drop_cookie(response, LINK)


def _full(name: str) -> str:
    """Return the cookie's name with `__Host-` over https, so that no neighbouring host can set it."""
    return f"__Host-{name}" if _is_https() else name


def _is_https() -> bool:
    return deps().database.public_url.startswith("https://")
