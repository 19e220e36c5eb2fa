"""REDIS_URL: one Redis server, or the sentinels that know which of several servers is the master."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

DEFAULT_PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = ("redis", "rediss", "unix", "sentinel", "sentinels")
# Files of certificates and of the client's own key, in PEM.
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_CHOICES = {"ssl_cert_reqs": ("required", "none"), "ssl_check_hostname": ("true", "false")}
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^:\[\]/?#@]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed REDIS_URL.

    Attributes:
        hosts: names and ports, of sentinels if there is a `master`.
        path: of the Unix socket, in place of `hosts`.
        master: the name of the master at the sentinels, or None without sentinels.
        tls: redis-py's options that begin with `ssl_`, or None without TLS.
        sentinel_username, sentinel_password: what the sentinels themselves ask for.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    master: str | None = None
    tls: Mapping[str, str | bool] | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(text: str) -> RedisAddress:
    """Raise `ValueError`, which never shows the text, because it may have a password."""
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("is not like redis://:password@host:port/number") from None
    if parts.fragment:
        raise ValueError("has a #, which must be written as %23 in a password")
    if parts.scheme not in SCHEMES:
        raise ValueError("must begin with redis://, rediss://, unix://, sentinel:// or sentinels://")
    by_sentinel, tls = parts.scheme.startswith("sentinel"), parts.scheme in ("rediss", "sentinels")
    credentials, _, at = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    query = _query(pairs, by_sentinel=by_sentinel, tls=tls)
    is_socket, named = parts.scheme == "unix", query.pop("db", "0")
    database = named if is_socket else parts.path.removeprefix("/") or named
    if not re.fullmatch(r"[0-9]{1,9}", database):
        raise ValueError("must end in the number of a database, like redis://host:port/0")
    return RedisAddress(
        hosts=() if is_socket else _hosts(at, by_sentinel),
        path=unquote(parts.path) if is_socket else None,
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=int(database),
        master=query.pop("master", None),
        sentinel_username=query.pop("sentinel_username", None),
        sentinel_password=query.pop("sentinel_password", None),
        tls={name: value == "true" if name == "ssl_check_hostname" else value for name, value in query.items()}
        if tls
        else None,
    )


def _hosts(text: str, by_sentinel: bool) -> tuple[tuple[str, int], ...]:
    if "," in text and not by_sentinel:
        raise ValueError(
            "names several hosts: Celery cannot use Redis Cluster, give one Redis server,"
            " or sentinels by sentinel://host,host/0?master=name"
        )
    found = [_HOST.fullmatch(part) for part in (text or "localhost").split(",")]
    usual = SENTINEL_PORT if by_sentinel else DEFAULT_PORT
    hosts = [(each["name"].strip("[]"), int(each["port"] or usual)) for each in found if each is not None]
    if len(hosts) != len(found) or not all(0 < port <= 65_535 for _, port in hosts):
        raise ValueError("has a host that is not like name:port, in redis://:password@host:port/number")
    return tuple(hosts)


def _query(pairs: list[tuple[str, str]], *, by_sentinel: bool, tls: bool) -> dict[str, str]:
    query = dict(pairs)
    known = ["db"]
    known += ["master", "sentinel_username", "sentinel_password"] if by_sentinel else []
    known += [*TLS_FILES, *_TLS_CHOICES] if tls else []
    if unknown := sorted(query.keys() - set(known)):
        hint = " (TLS needs rediss:// or sentinels://)" if any(name.startswith("ssl") for name in unknown) else ""
        raise ValueError(f"has the parameter {unknown[0]!r}, which is none of {', '.join(known)}{hint}")
    for name, choices in _TLS_CHOICES.items():
        if query.get(name, choices[0]) not in choices:
            raise ValueError(f"has {name} = {query[name]!r}, which is neither {' nor '.join(choices)}")
    if by_sentinel and not query.get("master"):
        raise ValueError("must name the master that the sentinels watch, like sentinel://host,host/0?master=mymaster")
    # Without checks of the certificate its name is not checked either, and OpenSSL refuses to.
    if query.get("ssl_cert_reqs") == "none":
        query["ssl_check_hostname"] = "false"
    return query
