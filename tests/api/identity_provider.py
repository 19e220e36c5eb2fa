"""A small OpenID provider: real keys, real HTTP, PKCE checked; everybody who comes is the person it is set to."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "sagahold", "client/secret+: %ü"


KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


class IdentityProvider(ThreadingHTTPServer):
    """
    Attributes:
        claims: of the next ID tokens, over what is right; None leaves one out.
        user_info: what its endpoint says; None: it has no such endpoint.
        signs_with: its own key, or a stranger's.
        asked: the parameters of each authorization request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = KEY
        self.signs_with = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {}
        self.user_info: dict[str, Any] | None = None
        self.issuer = self.url
        self.asked: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def metadata(self) -> dict[str, Any]:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return found if self.user_info is None else found | {"userinfo_endpoint": f"{self.url}/userinfo"}

    def authorize(self, query: dict[str, str]) -> str:
        """Where it sends the browser back to."""
        self.asked.append(query)
        code = secrets.token_urlsafe()
        self._codes[code] = query
        return query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"], "iss": self.issuer})

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        asked = self._codes.pop(form.get("code", ""), None)
        # As RFC 6749 has it, 2.3.1: each form-encoded, then joined.
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (unquote_plus(given[0]), unquote_plus(given[2])) != (CLIENT_ID, CLIENT_SECRET):
            return {"error": "invalid_client"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge:
            return None
        if form["redirect_uri"] != asked["redirect_uri"]:
            return None
        now = int(time.time())
        right = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "4711",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        }
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        header = {"alg": self.algorithm, "kid": "one"}
        id_token = jwt.encode(header, claims, self.signs_with, algorithms=[self.algorithm])
        return {"access_token": "access", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


class _Handler(BaseHTTPRequestHandler):
    server: IdentityProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/.well-known/openid-configuration":
                self._json(self.server.metadata())
            case "/keys":
                self._json({"keys": [self.server.key.as_dict(private=False)]})
            case "/userinfo" if self.headers["Authorization"] == "Bearer access":
                self._json(self.server.user_info or {})
            case "/authorize":
                self.send_response(302)
                self.send_header("Location", self.server.authorize(query))
                self.end_headers()
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        found = self.server.token(form, self.headers.get("Authorization", ""))
        found = found or {"error": "invalid_grant"}
        self._json(found, {"invalid_client": 401, None: 200}.get(found.get("error"), 400))

    def _json(self, document: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
