"""Authentication and authorization by a Bearer key, a key as HTTP Basic user name, or (on a laptop) without a key."""

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from flask import Request, g

from adapters.process.local_peers import users_connected_to
from app.deps import deps
from app.http.middleware import KEY_ID
from app.http.problems import HTTPProblem
from domain.identity.access import ALL_NAMESPACES, ANONYMOUS, Authentication, Permission, Principal, Role, who_may
from domain.values.errors import Forbidden

_KEY = re.compile(r"hitl_[A-Za-z0-9_-]{20,128}")
# Names of query parameters under which clients send keys.
_KEY_PARAMETERS = frozenset({"api_key", "apikey", "api-key", "key", "access_token", "token", "authorization"})

# Prefixes of the headers that proxies and tunnels add.
_FORWARDING = (
    *("forwarded", "via", "x-forwarded", "x-real-", "x-original-", "x-client-ip", "x-cluster-", "x-envoy-", "x-proxy"),
    *("cf-", "cdn-loop", "true-client-ip", "fastly-", "ngrok-", "tailscale-", "x-amz", "x-azure", "x-appengine"),
)


def authorize(
    request: Request, permission: Permission, identify: Callable[[Request], Principal] | None = None
) -> Principal:
    """Return the caller and store it as `g.principal`. Raises `HTTPProblem` 400 or 401, or `Forbidden`.

    `identify`: finds the caller of a protocol that sends no key. Raises `HTTPProblem` 401.
    """
    _refuse_key_in_url(request)
    principal = replace((identify or _identify)(request), where=request.remote_addr)
    g.principal = principal
    request.environ[KEY_ID] = principal.id
    if not principal.may(permission):
        raise Forbidden(f"a key with the role {principal.role} may not do this; it needs {who_may(permission)}")
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
            detail = "a key in a URL ends up in logs; revoke it, and send a new one as Authorization: Bearer hitl_…"
            raise HTTPProblem(400, "KEY_IN_URL", detail)


def _anonymous(request: Request) -> Principal:
    """Return the principal of a request without a key: direct, local, and not from another site's page.

    The name in `Host` guards against DNS rebinding, and `Origin` against forms and scripts of other sites. Behind a
    proxy every caller looks local. A proxy is recognised by its headers, by HTTP/1.0, or by running as another user.
    """
    role = deps().anonymous_role
    if role is None:
        raise _unauthenticated("send Authorization: Bearer hitl_…")
    forwarded = any(name.lower().startswith(_FORWARDING) for name in request.headers.keys())  # noqa: SIM118
    # granian says "HTTP/1" where others say "HTTP/1.0".
    old_protocol = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1"
    if forwarded or old_protocol or not _is_loopback(request.remote_addr) or not _is_local_name(request.host):
        raise _unauthenticated("requests without a key are accepted only from this machine, under a loopback name")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        raise _unauthenticated("requests without a key are not accepted from pages of other sites")
    if users_connected_to(int(request.environ.get("SERVER_PORT", 0))) - {os.getuid()}:
        raise _unauthenticated(
            "requests without a key are accepted only while no program of another user, like a proxy, is connected"
        )
    return Principal(ANONYMOUS, ANONYMOUS, Role(role), (ALL_NAMESPACES,), auth=Authentication.ANONYMOUS)


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
