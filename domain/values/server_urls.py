"""The URLs in the settings: of the servers that Sagahold uses, and its own. Each function checks one and returns it.

They raise `ValueError`. The error of a URL that may contain a password does not show it.
"""

import re
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from domain.values.network import is_loopback


def database_url(text: str) -> str:
    """Return the URL with its driver named. SQLAlchemy would take plain `postgresql://` for psycopg 3.

    Several hosts, as `libpq` writes them, become parameters, because SQLAlchemy knows no other way.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise ValueError("must begin with postgresql://")
    found = _DATABASE.fullmatch(rest)
    hosts = [_HOST.fullmatch(each) for each in found["hosts"].split(",")] if found else [None]
    if found is None or not all(host and (not host["port"] or _is_port(host["port"])) for host in hosts):
        raise ValueError("is not like postgresql://user:password@host:port/database")
    given = parse_qsl(found["query"] or "", keep_blank_values=True)
    added = []
    if len(hosts) > 1:
        names, ports = zip(*((host["name"].strip("[]"), host["port"] or "5432") for host in hosts if host), strict=True)
        added = [("host", ",".join(names)), ("port", ",".join(ports))]
    named = [value for name, value in [*given, *added] if name == "host"]
    added += _session(dict(given).get("target_session_attrs"), several=len(named) > 1 or "," in "".join(named))
    if not added:
        return f"postgresql+psycopg2://{rest}"
    place = "" if len(hosts) > 1 else found["hosts"]
    return f"postgresql+psycopg2://{found['login'] or ''}{place}{found['database'] or ''}?{urlencode([*given, *added])}"


def _session(given: str | None, *, several: bool) -> list[tuple[str, str]]:
    """Return the parameter that finds the server which takes changes, if it is missing."""
    if given is not None and given not in ("read-write", "primary") and (several or given != "any"):
        raise ValueError(f"has target_session_attrs={given}, but only a server that takes changes will do: read-write")
    return [("target_session_attrs", "read-write")] if several and given is None else []


# SQLAlchemy's own syntax, in which a password may have characters that end the host in other URLs.
_DATABASE = re.compile(
    r"(?P<login>[^:/]*(?::[^@]*)?@)?(?P<hosts>[^/?]*)(?P<database>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL
)
_HOST = re.compile(r"(?P<name>\[[^/?\]]+\]|[^/:?]*)(?::(?P<port>[^/?]*))?", re.DOTALL)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535


def _parts(text: str) -> SplitResult | None:
    """Split the URL, or return None if it or its port is invalid."""
    try:
        parts = urlsplit(text)
        good = "," in parts.netloc or parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def _is_http(text: str) -> bool:
    parts = _parts(text)
    plain = text.isprintable() and not {*' <>"\\'} & {*text}
    return plain and parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)


def public_url(text: str) -> str:
    """Check the base of links, which everyone can read."""
    parts = _parts(text)
    if parts is not None and parts.username is not None:
        raise ValueError("has a user name: give an http(s) URL without user name and password")
    if parts is None or not _is_http(text) or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not an http(s) URL without query or fragment")
    return text.rstrip("/")


def model_url(text: str) -> str:
    """Check the URL. Errors never show it, because it may have a key."""
    if text and not _is_http(text):
        raise ValueError("is not an http(s) URL like http://localhost:8080/v1")
    return text


def collector_url(text: str) -> str:
    """Check the URL. Errors never show it, because it may have a key."""
    if text and (not _is_http(text) or "#" in text):
        raise ValueError("is not an http(s) URL like http://collector:4318")
    return text


def issuer_url(text: str) -> str:
    """Check the issuer, which must equal the provider's own spelling, including a final slash."""
    parts = urlsplit(text) if _is_http(text) else None
    if text and (parts is None or (parts.scheme == "http" and not is_loopback(parts.hostname or ""))):
        raise ValueError(f"{text!r} is not an https URL")
    return text


def mail_url(text: str) -> str | None:
    """Check the mail server's URL in apprise's syntax, without recipients. Errors never show it: it has a password."""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("mailto", "mailtos") and parts.hostname and parts.path in ("", "/")
        named = {name.lower() for name, _ in parse_qsl(parts.query)} & {"to", "cc", "bcc"}
    except ValueError:
        good, named = None, set()
    if not good or named:
        raise ValueError("is not like mailtos://user:password@mail.example.com[?from=…] without a recipient")
    return text
