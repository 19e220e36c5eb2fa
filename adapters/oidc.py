"""Sign-in through an identity provider: OpenID Connect's authorization code flow with PKCE, state and nonce.

Its requests do not use `adapters.egress`, which only POSTs and keeps untrusted URLs out of the internal network. The
issuer is an operator's setting and is often in the internal network. Endpoints in its metadata must use https (or
loopback). Requests have a time limit and follow no redirects.
"""

import hmac
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlsplit

from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.errors import OAuth2Error  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from domain.identity.person import Identity
from domain.values.network import is_loopback

TIMEOUT_SECONDS = 10.0
# Endpoints almost never change, and many sign-ins at once should fetch them only once.
METADATA_KEPT_SECONDS = 600.0
# Tolerated difference between the provider's clock and ours.
LEEWAY_SECONDS = 60
# Only signatures by the provider's private key, none by the client's secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# RFC 6749, 4.1.2.1 and 5.2; OpenID Connect Core, 3.1.2.6.
_CANCELLED = frozenset({"access_denied", "interaction_required", "login_required", "consent_required"})
_CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderAway(Exception):
    """The provider does not answer, or its response violates OpenID Connect."""


class ProviderRefused(Exception):
    """The provider's response rejects the sign-in or does not belong to it.

    Attributes:
        why: `begun` (elsewhere or too long ago), `cancelled` (at the provider), `error` (of the provider), `client`
            (our credentials are rejected) or `token` (not trusted).
    """

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why = why


class Provider:
    """An identity provider, safe to share between threads. A `secret` is known only to the browser of one sign-in.

    Args:
        trust_email: treat an address as verified unless the provider denies it.
        groups_claim: the claim with the names of a person's groups.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        return_url: str,
        *,
        trust_email: bool = False,
        groups_claim: str | None = None,
    ) -> None:
        self.issuer = issuer
        self._trust_email, self._groups_claim = trust_email, groups_claim
        self._client_id, self._client_secret, self._return_url = client_id, client_secret, return_url
        self._metadata: tuple[float, dict[str, Any]] | None = None

    def begin(self, secret: str) -> str:
        """Return the URL to send the browser to. Raises `ProviderAway`."""
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._endpoints(client)["authorization_endpoint"],
                state=_derived(secret, "state"),
                nonce=_derived(secret, "nonce"),
                code_verifier=_derived(secret, "verifier"),
            )
        return str(url)

    def finish(self, secret: str, given: Mapping[str, str]) -> Identity:
        """Return the identity for the parameters of the return URL. Raises `ProviderAway` or `ProviderRefused`."""
        if not hmac.compare_digest(given.get("state", "").encode(), _derived(secret, "state").encode()):
            raise ProviderRefused("begun", "state")
        if (error := given.get("error", "")) and not given.get("code"):
            reason = f"{error}: {given.get('error_description', '')}"[:200]
            raise ProviderRefused("cancelled" if error in _CANCELLED else _kind(error), reason)
        if given.get("iss", self.issuer) != self.issuer or not given.get("code"):
            raise ProviderRefused("token", "code")
        with self._client() as client:
            endpoints = self._endpoints(client)
            try:
                token = client.fetch_token(
                    endpoints["token_endpoint"],
                    grant_type="authorization_code",
                    code=given["code"],
                    code_verifier=_derived(secret, "verifier"),
                )
            except (OAuthError, OAuth2Error) as error:
                raise ProviderRefused(_kind(getattr(error, "error", None)), str(error)[:200]) from None
            except Exception as error:
                raise ProviderAway(f"{type(error).__name__}: {error}"[:200]) from None
            claims = self._claims(client, endpoints, str(token.get("id_token", "")), _derived(secret, "nonce"))
            if "email" not in claims and "userinfo_endpoint" in endpoints:
                claims |= self._user_info(client, endpoints["userinfo_endpoint"], claims["sub"])
        email = claims.get("email")
        subject = f"{self.issuer}|{claims['sub']}"
        address = email if isinstance(email, str) else None
        return Identity(subject, address, self._is_verified(claims), self._groups(claims))

    def _is_verified(self, claims: Mapping[str, Any]) -> bool:
        verified = claims.get("email_verified")
        # Some providers omit it, and some send a string.
        return verified is True or (self._trust_email and (verified is None or str(verified).lower() == "true"))

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...] | None:
        if self._groups_claim is None:
            return None
        found: Any = claims.get(self._groups_claim)
        if found is None:
            found = claims
            for part in self._groups_claim.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            found = [found]
        return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list) else None

    def _claims(self, client: Any, endpoints: Mapping[str, Any], id_token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token, after checks of its signature, issuer, audience, time and nonce."""
        keys = _json(client, endpoints["jwks_uri"])
        rules = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._client_id},
            "sub": {"essential": True},
        }
        try:
            token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
            claims = CodeIDToken(token.claims, token.header, rules, {"nonce": nonce, "client_id": self._client_id})
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ProviderRefused("token", f"ID token: {type(error).__name__}: {error}"[:200]) from None
        return dict(claims)

    def _user_info(self, client: Any, url: str, subject: str) -> dict[str, Any]:
        found = _json(client, url, withhold_token=False)
        if found.get("sub") != subject:
            raise ProviderRefused("token", "userinfo has another subject")
        return {name: found.get(name) for name in ("email", "email_verified")}

    def _endpoints(self, client: Any) -> dict[str, Any]:
        known = self._metadata
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        found = _json(client, self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise ProviderAway("its metadata names another issuer")
        named = [found.get(name) for name in _ENDPOINTS]
        named += [found[name] for name in ("userinfo_endpoint",) if name in found]
        if not all(isinstance(url, str) and is_safe(url) for url in named):
            raise ProviderAway("its metadata lacks an endpoint, or names one without https")
        self._metadata = time.monotonic() + METADATA_KEPT_SECONDS, found
        return found

    def _client(self) -> Any:
        return OAuth2Client(
            self._client_id,
            self._client_secret,
            scope="openid email profile",
            redirect_uri=self._return_url,
            code_challenge_method="S256",
            token_endpoint_auth_method=_authenticate,
            timeout=TIMEOUT_SECONDS,
        )


def _authenticate(
    auth: Any, method: str, uri: str, headers: dict[str, str], body: str
) -> tuple[str, dict[str, str], str]:
    """Add Basic credentials, each form-encoded first (RFC 6749, 2.3.1), because a secret may have a colon or space."""
    pair = ":".join(quote_plus(part) for part in (auth.client_id, auth.client_secret))
    return uri, headers | {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, body


def _kind(error: str | None) -> str:
    return "client" if error in _CLIENT_ERRORS else "error"


def is_safe(url: str) -> bool:
    """Return whether the URL uses https or leads to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and is_loopback(host)


def _json(client: Any, url: str, withhold_token: bool = True) -> dict[str, Any]:
    try:
        answer = client.request("GET", url, withhold_token=withhold_token)
        answer.raise_for_status()
        found = answer.json()
    except Exception as error:  # the client, its HTTP library or JSON may raise it; each means that there is no answer
        raise ProviderAway(f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise ProviderAway("not an object")
    return found


def _derived(secret: str, what: str) -> str:
    return hmac.new(secret.encode(), what.encode(), sha256).hexdigest()
