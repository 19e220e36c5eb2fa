"""Signing in by the operator's identity provider."""

import logging
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

from flask import abort, redirect, request

from adapters.oidc import Provider, ProviderAway, ProviderRefused
from app.dashboard.framework import cookies
from app.dashboard.framework.errors import error_page
from app.dashboard.framework.page_decorator import dashboard
from app.dashboard.sign_in.sign_in import let_in, local_path, place
from app.deps import deps
from services.identity.sign_in import SignInRefused, sign_in_as

log = logging.getLogger(__name__)

# As long as a person takes at the provider.
LASTS = timedelta(minutes=15)
_REFUSED = {
    "begun": "This sign-in was begun in another browser, or too long ago: start again from the sign-in page.",
    "cancelled": "You cancelled the sign-in at your identity provider, or it does not let you in here. To try again, "
    "start from the sign-in page.",
    "error": "Your identity provider refused the sign-in: the server's log says what it answered. Try again later, or "
    "ask whoever operates this server.",
    "client": "Your identity provider does not accept this server: whoever operates it mends SAGAHOLD_OIDC_CLIENT_ID "
    "or SAGAHOLD_OIDC_CLIENT_SECRET, or registers the server at the provider.",
    "token": "What your identity provider answered cannot be trusted: the server's log says why. Ask whoever operates "
    "this server.",
    "unverified": "Your identity provider does not say that your e-mail address is verified. Have it verified there, "
    "or ask whoever operates this server to trust the provider's addresses (SAGAHOLD_OIDC_TRUST_EMAIL).",
    "unknown": "Your identity provider's account is not known here: an admin adds you with the same e-mail address.",
}


@dashboard.get("/sign-in/oidc")
def begin_oidc() -> Any:
    """A link, not a form: the page's policy lets no form lead to another site."""
    secret = secrets.token_urlsafe(32)
    try:
        response = redirect(_provider().begin(secret), 303)
    except ProviderAway as error:
        return _away(error)
    wanted = local_path(request.args.get("next"))
    cookies.set_cookie(response, cookies.OIDC, f"{secret}.{quote(wanted, safe='')}", LASTS)
    return response


@dashboard.get("/sign-in/oidc/return")
def finish_oidc() -> Any:
    """Only the browser that began has the cookie, so nobody can be signed in by a link that another prepared."""
    provider = _provider()
    secret, _, wanted = (cookies.cookie(cookies.OIDC) or "").partition(".")
    try:
        if not secret:
            raise ProviderRefused("begun", "no cookie")
        identity = provider.finish(secret, request.args)
        session, _ = sign_in_as(deps().database, identity, place())
    except ProviderAway as error:
        return _away(error)
    except (ProviderRefused, SignInRefused) as error:
        log.warning("sign-in by the identity provider refused", extra={"reason": str(error)})
        response = error_page(403, _REFUSED[error.why])
    else:
        response = let_in(session, local_path(unquote(wanted)))
    cookies.drop_cookie(response, cookies.OIDC)
    return response


def _provider() -> Provider:
    provider = deps().provider
    if provider is None:
        abort(404)
    return provider


def _away(error: ProviderAway) -> Any:
    log.warning("identity provider", extra={"reason": str(error)})
    return error_page(503, "Your identity provider does not answer as it should. Try again, or sign in another way.")
