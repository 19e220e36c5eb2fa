"""HTTP client of the commands: find the server, choose the key, and report its errors."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import httpx

from cli.views.output import clean
from domain.identity.access import Role
from domain.values.network import is_loopback

CREDENTIALS = "credentials.json"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
KEY = re.compile(r"hitl_[A-Za-z0-9_-]+")
NO_SERVER = "no server given: start one here with `sagahold up`, or name one with SAGAHOLD_URL or --url"


class Failure(click.ClickException):
    """An error in one line, for the person at the terminal."""


class ServerUnreachable(Failure):
    """No Sagahold server answers at the URL, or no URL was given."""

    exit_code = 2


class ServerRefused(Failure):
    """An error response. `body` is the problem document exactly as received, `problem` the same document parsed."""

    def __init__(self, status: int, body: str, problem: Mapping[str, Any], why: str) -> None:
        super().__init__(clean(f"{problem['code']}: {why}"))
        self.status = status
        self.body = body
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """A successful response. `text` is the body exactly as received."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


class Server:
    """A client of one server. Its methods raise `ServerUnreachable` and `ServerRefused`.

    `ServerUnreachable` also covers a server that is not Sagahold.

    Args:
        keys: role → key; without a key for the role, the request carries none.
        keys_from: the source of the keys, in words.
    """

    def __init__(self, url: str, keys: Mapping[str, str], keys_from: str) -> None:
        self.url = url
        self._keys = keys
        self._keys_from = keys_from
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        # Requests to this machine bypass a proxy that the environment names.
        self._http = httpx.Client(timeout=timeout, trust_env=not is_loopback(urlsplit(url).hostname or ""))

    def request(
        self,
        role: Role,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] = MappingProxyType({}),
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        held: float = 0,
    ) -> ServerResponse:
        """Send one request and return its response.

        In `query`, None omits a parameter and a list repeats it.
        `held`: extra seconds that the server may take to respond (long poll).
        """
        sent = {**headers, **self._authorization(role)}
        if body is not None:
            sent["Content-Type"] = "application/json"
        with self._reporting_unreachable():
            response = self._http.request(
                method,
                self._target(path, query),
                # Escapes lone surrogates, so that the server can point to them.
                content=None if body is None else json.dumps(body),
                headers=sent,
                timeout=httpx.Timeout(ANSWER_SECONDS + held, connect=CONNECT_SECONDS),
            )
        self._raise_for_error(response, role)
        return ServerResponse(response.status_code, response.text, response.headers)

    def download(self, role: Role, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield a long response in chunks as they arrive."""
        target = self._target(path, query)
        headers = self._authorization(role)
        with self._reporting_unreachable(), self._http.stream("GET", target, headers=headers) as response:
            if not response.is_success:
                response.read()
            self._raise_for_error(response, role)
            yield from response.iter_bytes()

    @contextmanager
    def open_stream(
        self, role: Role, path: str, content: bytes, headers: Mapping[str, str], within: float
    ) -> Iterator[httpx.Response]:
        """Post the content and yield the response, whatever its status, before its body has arrived.

        `within`: the seconds between two parts of the response.
        """
        sent = {**headers, **self._authorization(role)}
        timeout = httpx.Timeout(ANSWER_SECONDS, read=within, connect=CONNECT_SECONDS)
        with (
            self._reporting_unreachable(),
            self._http.stream("POST", f"{self.url}{path}", content=content, headers=sent, timeout=timeout) as response,
        ):
            yield response

    def close(self) -> None:
        self._http.close()

    def _target(self, path: str, query: Mapping[str, Any]) -> str:
        given = {name: value for name, value in query.items() if value is not None}
        encoded = urlencode(given, doseq=True, errors="replace")
        return f"{self.url}{path}" + (f"?{encoded}" if encoded else "")

    def _authorization(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[role]}"} if role in self._keys else {}

    @contextmanager
    def _reporting_unreachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            why = str(error).rpartition("] ")[2] or type(error).__name__
            raise ServerUnreachable(
                f"cannot reach {self.url} ({why}): is it running? `sagahold up` starts one"
            ) from None

    def _raise_for_error(self, response: httpx.Response, role: Role) -> None:
        if response.is_success:
            return
        try:
            problem = response.json()
            # Field errors repeat the detail, so the detail serves only without them.
            places = [
                f"{field_error['path'] or 'body'}: {field_error['message']}"
                for field_error in problem.get("errors", ())
            ]
            why = [text.rstrip(".") for text in places or [problem["detail"]]]
            if response.status_code == httpx.codes.UNAUTHORIZED:
                why.append(self._key_hint(role))
            refused = ServerRefused(response.status_code, response.text, problem, "; ".join(why))
        except (ValueError, TypeError, KeyError, AttributeError):
            status = f"{response.status_code} {response.reason_phrase}".strip()
            raise ServerUnreachable(
                f"{self.url} does not answer as a Sagahold server ({status}): check the URL"
            ) from None
        raise refused

    def _key_hint(self, role: Role) -> str:
        if role in self._keys:
            return f"the key comes from {self._keys_from}"
        return f"set SAGAHOLD_API_KEY to a key with the role {role}{self._keys_from}"


def part(text: str) -> str:
    """Quote typed text as one segment of a path."""
    return quote(text, safe="", errors="replace")


@contextmanager
def open_server(url: str | None, data_dir: Path, *, decides: bool = False) -> Iterator[Server]:
    """Open the server at `url`, or the one that `sagahold up` recorded in `data_dir`.

    SAGAHOLD_API_KEY takes precedence. The recorded keys are sent only to the recorded server. A checkout can contain a
    recorded server of its author, so such a server on another machine gets no SAGAHOLD_API_KEY.

    Args:
        decides: an answer of the server lets an action run, so a recorded server must be on this machine.
    """
    file = data_dir / CREDENTIALS
    credentials = read_credentials(file)
    own_url = credentials.get("url", "").rstrip("/")
    recorded = not url
    url = (url or own_url).rstrip("/")
    if not url:
        raise ServerUnreachable(NO_SERVER)
    host = _host(url)
    given = os.environ.get("SAGAHOLD_API_KEY", "").strip()
    if given and not KEY.fullmatch(given):
        raise ServerUnreachable("SAGAHOLD_API_KEY is not a key: a key begins with hitl_")
    if recorded and (given or decides) and not is_loopback(host):
        raise ServerUnreachable(f"{file} names {url}, another machine: set SAGAHOLD_URL to the server that you trust")
    if given:
        server = Server(url, dict.fromkeys(Role, given), "SAGAHOLD_API_KEY")
    elif url == own_url:
        server = Server(
            url, {role: credentials[f"{role}_key"] for role in Role if f"{role}_key" in credentials}, str(file)
        )
    else:
        # A recorded key never goes to another server.
        server = Server(url, {}, f" (the keys in {file} are for {own_url})" if own_url else "")
    try:
        yield server
    finally:
        server.close()


def read_credentials(file: Path) -> dict[str, str]:
    """Return the file's entries, empty without a file. Raises `ServerUnreachable` if it cannot be read."""
    try:
        found = json.loads(file.read_text())
        return {str(name): value for name, value in found.items() if isinstance(value, str)}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ServerUnreachable(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, AttributeError):
        raise ServerUnreachable(
            f"{file} is not valid JSON: remove it, and the next `sagahold up` writes a new one"
        ) from None


def _host(url: str) -> str:
    """Return the host of a server's URL. Raises `ServerUnreachable`, without a password that the URL contains."""
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ServerUnreachable("the URL of the server contains a user name or password: write http://HOST:PORT")
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query:
            return parts.hostname
    except ValueError:
        pass
    raise ServerUnreachable(f"{url!r} is not the URL of a server: write it as http://HOST:PORT")
