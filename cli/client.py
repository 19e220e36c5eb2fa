"""A Sagahold server as commands see it: where it is, which key fits, and how it says no."""

import ipaddress
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

CREDENTIALS = "credentials.json"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
KEY = re.compile(r"hitl_[A-Za-z0-9_-]+")
NOWHERE = "no server given: `sagahold up` starts one here, SAGAHOLD_URL or --url names another"


class Failure(click.ClickException):
    """What went wrong in one line, for the person at the terminal."""


class ServerUnreachable(Failure):
    """There is no Sagahold server where one was looked for, or it was not said where."""

    exit_code = 2


class ServerRefused(Failure):
    """The server said no. `body` is its problem document, letter for letter, `problem` the same to read."""

    def __init__(self, status: int, body: str, problem: Mapping[str, Any], why: str) -> None:
        super().__init__(clean(f"{problem['code']}: {why}"))
        self.status = status
        self.body = body
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """`text` is what the server sent, letter for letter."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


class Server:
    """Ask it with `ask`. Raises `ServerUnreachable` (also for what is no Sagahold server) and `ServerRefused`.

    Args:
        keys: role → key; a missing one is not sent.
        keys_from: where they came from, in words.
    """

    def __init__(self, url: str, keys: Mapping[str, str], keys_from: str) -> None:
        self.url = url
        self._keys = keys
        self._keys_from = keys_from
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        # No proxy of the environment stands between a machine and itself.
        self._http = httpx.Client(timeout=timeout, trust_env=not _is_loopback(urlsplit(url).hostname))

    def ask(
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
        """`query` may have None for what is not asked, and several values for one name.

        `held`: seconds that the server may keep the answer back.
        """
        sent = {**headers, **self._authorization(role)}
        if body is not None:
            sent["Content-Type"] = "application/json"
        with self._telling_absence():
            response = self._http.request(
                method,
                self._target(path, query),
                # Escapes what is no text in any encoding, so that the server can name its place.
                content=None if body is None else json.dumps(body),
                headers=sent,
                timeout=httpx.Timeout(ANSWER_SECONDS + held, connect=CONNECT_SECONDS),
            )
        self._judge(response, role)
        return ServerResponse(response.status_code, response.text, response.headers)

    def download(self, role: Role, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """A long answer, piece by piece as it comes."""
        asked = "GET", self._target(path, query)
        with self._telling_absence(), self._http.stream(*asked, headers=self._authorization(role)) as response:
            if not response.is_success:
                response.read()
            self._judge(response, role)
            yield from response.iter_bytes()

    def close(self) -> None:
        self._http.close()

    def _target(self, path: str, query: Mapping[str, Any]) -> str:
        wanted = {name: value for name, value in query.items() if value is not None}
        asked = urlencode(wanted, doseq=True, errors="replace")
        return f"{self.url}{path}" + (f"?{asked}" if asked else "")

    def _authorization(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[role]}"} if role in self._keys else {}

    @contextmanager
    def _telling_absence(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            why = str(error).rpartition("] ")[2] or type(error).__name__
            raise ServerUnreachable(
                f"cannot reach {self.url} ({why}): is it running? `sagahold up` starts one"
            ) from None

    def _judge(self, response: httpx.Response, role: Role) -> None:
        if response.is_success:
            return
        try:
            problem = response.json()
            # The places say it all; without any, the detail does.
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
            return f"the key is the one of {self._keys_from}"
        return f"set SAGAHOLD_API_KEY to a key of the role {role}{self._keys_from}"


def part(text: str) -> str:
    """What a person typed, as one part of a path."""
    return quote(text, safe="", errors="replace")


@contextmanager
def open_server(url: str | None, data_dir: Path) -> Iterator[Server]:
    """`url` or what `sagahold up` wrote; with SAGAHOLD_API_KEY or, for that very server, the keys of its file."""
    file = data_dir / CREDENTIALS
    credentials = read_credentials(file)
    own_url = credentials.get("url", "").rstrip("/")
    url = (url or own_url).rstrip("/")
    if not url:
        raise ServerUnreachable(NOWHERE)
    if not _is_http(url):
        raise ServerUnreachable(f"{url!r} is not the URL of a server: give it as http://HOST:PORT")
    given = os.environ.get("SAGAHOLD_API_KEY", "").strip()
    if given and not KEY.fullmatch(given):
        raise ServerUnreachable("SAGAHOLD_API_KEY is not a key: one begins with hitl_")
    if given:
        server = Server(url, dict.fromkeys(Role, given), "SAGAHOLD_API_KEY")
    elif url == own_url:
        server = Server(
            url, {role: credentials[f"{role}_key"] for role in Role if f"{role}_key" in credentials}, str(file)
        )
    else:
        # A key goes only to the server that it is for.
        server = Server(url, {}, f" (the keys in {file} are for {own_url})" if own_url else "")
    try:
        yield server
    finally:
        server.close()


def read_credentials(file: Path) -> dict[str, str]:
    """Empty when there is no such file. Raises `ServerUnreachable` when it cannot be read."""
    try:
        found = json.loads(file.read_text())
        return {str(name): value for name, value in found.items() if isinstance(value, str)}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ServerUnreachable(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, AttributeError):
        raise ServerUnreachable(
            f"{file} cannot be understood: remove it, the next `sagahold up` writes it anew"
        ) from None


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        return False


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
