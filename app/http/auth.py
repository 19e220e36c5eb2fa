"""Who is asking, and whether they may: a Bearer key, a key as HTTP Basic user name, or (on a laptop) nobody."""

import base64
import binascii
import ipaddress
import os
import re
from dataclasses import replace
from urllib.parse import urlsplit

from flask import Request, g

from adapters.process.local_peers import users_connected_to
from app.deps import deps
from app.http.middleware import KEY_ID
from app.http.problems import HTTPProblem
from domain.identity.access import ALL_NAMESPACES, ANONYMOUS, Permission, Principal, Role, who_may
from domain.values.errors import Forbidden

_KEY = re.compile(r"hitl_[A-Za-z0-9_-]{20,128}")
# Names under which clients are known to put keys into URLs.
_KEY_PARAMETERS = frozenset({"api_key", "apikey", "api-key", "key", "access_token", "token", "authorization"})

# What proxies and tunnels add to a request: the beginnings of the names.
_FORWARDING = (
    *("forwarded", "via", "x-forwarded", "x-real-", "x-original-", "x-client-ip", "x-cluster-", "x-envoy-", "x-proxy"),
    *("cf-", "cdn-loop", "true-client-ip", "fastly-", "ngrok-", "tailscale-", "x-amz", "x-azure", "x-appengine"),
)


def authorize(request: Request, permission: Permission) -> Principal:
    """The caller, also as `g.principal`. Raises `HTTPProblem` 400 or 401, `Forbidden`."""
    _refuse_key_in_url(request)
    principal = replace(_identify(request), where=request.remote_addr)
    g.principal = principal
    request.environ[KEY_ID] = principal.id
    if not principal.may(permission):
        raise Forbidden(f"a key with the role {principal.role} may not do this: it takes {who_may(permission)}")
    return principal


def _identify(request: Request) -> Principal:
    key = _key_of(request)
    if key is None:
        return _anonymous(request)
    principal = deps().keys.principal(key) if _KEY.fullmatch(key) else None
    if principal is None:
        raise _unauthenticated("this key is unknown, expired or revoked")
    return principal


def _key_of(request: Request) -> str | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            raise _unauthenticated("the Basic credentials cannot be read") from None
    raise _unauthenticated("send Authorization: Bearer hitl_…")


def _unauthenticated(detail: str) -> HTTPProblem:
    return HTTPProblem(401, "UNAUTHENTICATED", detail, {"WWW-Authenticate": 'Bearer realm="sagahold"'})


def _refuse_key_in_url(request: Request) -> None:
    if not request.query_string:
        return
    for name, value in request.args.items(multi=True):
        if name.lower() in _KEY_PARAMETERS or _KEY.search(value):
            detail = "a key in a URL ends up in logs: send it as Authorization: Bearer hitl_…, and revoke this one"
            raise HTTPProblem(400, "KEY_IN_URL", detail)


def _anonymous(request: Request) -> Principal:
    """Nobody's role, for a laptop: only straight from this machine, and not from a page of somebody else's site.

    The name in `Host` guards against DNS rebinding, `Origin` against forms and scripts of other sites. A proxy in front
    makes every caller look local: it is known by its headers, by the old protocol that many speak to servers behind
    them, or by running as another user than this server.
    """
    role = deps().anonymous_role
    if role is None:
        raise _unauthenticated("send Authorization: Bearer hitl_…")
    forwarded = any(name.lower().startswith(_FORWARDING) for name in request.headers.keys())  # noqa: SIM118
    # granian says "HTTP/1" where others say "HTTP/1.0".
    other = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1"
    if forwarded or other or not _is_loopback(request.remote_addr) or not _is_local_name(request.host):
        raise _unauthenticated("requests without a key are answered only on this machine, under a loopback name")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        raise _unauthenticated("requests without a key are not answered for pages of other sites")
    if users_connected_to(int(request.environ.get("SERVER_PORT", 0))) - {os.getuid()}:
        raise _unauthenticated(
            "requests without a key are answered only while no program of another user, like a proxy, is connected"
        )
    return Principal(ANONYMOUS, ANONYMOUS, Role(role), (ALL_NAMESPACES,))


def _is_local_name(host_and_port: str) -> bool:
    try:
        host = urlsplit(f"//{host_and_port}").hostname
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
