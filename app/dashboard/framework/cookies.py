"""Our cookies: none is for scripts, none is sent along with requests that other sites start, except plain links."""

from datetime import timedelta

from flask import request
from werkzeug.wrappers import Response

from app.deps import deps

SESSION = "sagahold_session"
# The tokens of links that open a single review each, the last one first.
LINK = "sagahold_link"
# Of a browser that is not signed in yet: what its sign-in form's token follows from.
PRE = "sagahold_pre"
# Of a sign-in by the identity provider that is under way.
OIDC = "sagahold_oidc"


def cookie(name: str) -> str | None:
    return request.cookies.get(_full(name))


def set_cookie(response: Response, name: str, value: str, lasts: timedelta) -> None:
    response.set_cookie(_full(name), value, max_age=lasts, path="/", secure=_is_https(), httponly=True, samesite="Lax")


def drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(_full(name), path="/", secure=_is_https(), httponly=True, samesite="Lax")


def drop_sign_in(response: Response) -> None:
    """Whoever sits down at this browser next is nobody: reviews' links let in, too."""
    drop_cookie(response, SESSION)
    drop_cookie(response, LINK)


def _full(name: str) -> str:
    """With `__Host-` a browser takes the cookie only from this very host, by https: no neighbour can plant one."""
    return f"__Host-{name}" if _is_https() else name


def _is_https() -> bool:
    return deps().database.public_url.startswith("https://")
