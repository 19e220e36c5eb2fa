"""Sign-in at the identity provider."""

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

# The time that a person has for the provider's sign-in.
LASTS = timedelta(minutes=15)
_REFUSED = {
    "begun": "This sign-in started in another browser or too long ago. Start again from the sign-in page.",
    "cancelled": "You cancelled the sign-in at your identity provider, or it does not admit you here. To try again, "
    "start from the sign-in page.",
    "error": "Your identity provider refused the sign-in. The server's log has its response. Try again later, or ask "
    "the operator of this server.",
    "client": "Your identity provider does not accept this server. Its operator must correct SAGAHOLD_OIDC_CLIENT_ID "
    "or SAGAHOLD_OIDC_CLIENT_SECRET, or register the server at the provider.",
    "token": "The response of your identity provider cannot be trusted. The server's log says why. Ask the operator of "
    "this server.",
    "unverified": "Your identity provider does not confirm that your e-mail address is verified. Verify it there, or "
    "ask the operator of this server to trust the provider's addresses (SAGAHOLD_OIDC_TRUST_EMAIL).",
    "unknown": "There is no account here for your e-mail address. Ask an admin to add you with the same address.",
}


@dashboard.get("/sign-in/oidc")
def begin_oidc() -> Any:
    """Redirect to the provider. This is a link, because the page's policy forbids forms that lead to another site."""
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
    """Finish the sign-in in the browser that started it: only that browser has the cookie."""
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
    return error_page(503, "Your identity provider does not respond correctly. Try again, or sign in another way.")
