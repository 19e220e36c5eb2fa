"""The URL of a receiver: a plain http(s) URL that means the same to every program that reads it.

Parsers differ on odd spellings (`0177.0.0.1`, `http://a\\@b`, `http://a b`), and each difference is a way around a
check. So an odd spelling is rejected, not interpreted. Host names are not resolved here: the client that connects
checks their addresses.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from domain.values.network import Address, Network, is_allowed

# Long enough for every real receiver, and the limit of older browsers and proxies.
MAX_URL_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)([/?].*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
# Anything but the printable ASCII of RFC 3986, which must be percent-encoded because clients read it differently.
_FORBIDDEN = re.compile(r"""[^!#-;=?-\[\]_a-z~]""")
# Host names have no underscores by the standard, but names inside a cluster do, and every resolver accepts them.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Many parsers read a name whose last label is a number as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Url:
    """A checked URL: scheme and host in lower case, without user, fragment or default port."""

    scheme: str
    host: str  # without brackets and without trailing dot
    port: int
    target: str  # path and query as in the request line
    addresses: tuple[Address, ...]  # allowed addresses of a literal or of localhost; empty for any other name

    @property
    def authority(self) -> str:
        """Host and port as in the URL and in the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def check_url(text: str, allow: Sequence[Network]) -> str:
    """Return the URL to store. Raises `ValueError` with what is wrong and what to do."""
    return str(read_url(text, allow))


def read_url(text: str, allow: Sequence[Network]) -> Url:
    """Parse a URL. `allow`: networks that may be reached although they are not public. Raises as `check_url` does."""
    if len(text) > MAX_URL_LENGTH:
        raise ValueError(f"the URL has {len(text)} characters: at most {MAX_URL_LENGTH} are allowed")
    if bad := _FORBIDDEN.search(text):
        raise ValueError(_about_character(bad.group(), bad.start()))
    parts = _PARTS.fullmatch(text)
    if parts is None or parts[1].lower() not in _DEFAULT_PORTS:
        raise ValueError("the URL must begin with http:// or https://")
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3] or ""
    if "#" in text:
        raise ValueError("the URL has a fragment (#…), which is never sent: leave it out")
    if "@" in authority:
        raise ValueError("the URL has a user name or password in it: put credentials into a custom header")
    host, port = _split(authority, scheme)
    host, addresses = _literal_v6(host, allow) if host.startswith("[") else _name_or_v4(host, allow)
    return Url(scheme, host, port, rest if rest.startswith("/") else f"/{rest}", addresses)


def _about_character(character: str, position: int) -> str:
    if not character.isascii():
        advice = "write a host name in its xn-- form and percent-encode the rest"
    elif character == "\\":
        advice = "write / instead"
    else:
        advice = "remove or percent-encode it"
    return f"the URL has the character {character!a} at position {position + 1}: {advice}"


def _split(authority: str, scheme: str) -> tuple[str, int]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError(f"{authority!r} is not a host with an optional port: write an IPv6 address in brackets")
    host, port = parts[1], parts[2]
    if not host:
        raise ValueError("the URL has no host: write https://host/path")
    if port is None:
        return host, _DEFAULT_PORTS[scheme]
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65_535:
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return host, int(port)


def _literal_v6(host: str, allow: Sequence[Network]) -> tuple[str, tuple[Address, ...]]:
    text = host[1:-1]
    if "%" in text:
        raise ValueError(f"{host} has a zone id, which has no meaning outside one machine: leave it out")
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise ValueError(f"{host} is not an IPv6 address: correct it or use a host name") from None
    return str(address), (_allowed(address, allow),)


def _name_or_v4(host: str, allow: Sequence[Network]) -> tuple[str, tuple[Address, ...]]:
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host[:80]!r} is not a host name: labels of letters, digits and hyphens, joined by dots")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            address = IPv4Address(name)
        except AddressValueError:
            raise ValueError(
                f"{name!r} is not an IPv4 address in its usual form: write four decimal numbers without leading zeros"
            ) from None
        return name, (_allowed(address, allow),)
    if labels[-1] == "localhost":
        # RFC 6761 defines it as loopback, so no resolver is used and only allowed addresses are tried.
        addresses = tuple(address for address in _LOOPBACK if is_allowed(address, allow))
        if not addresses:
            raise ValueError(_not_allowed(name))
        return name, addresses
    return name, ()


def _allowed(address: Address, allow: Sequence[Network]) -> Address:
    if not is_allowed(address, allow):
        raise ValueError(_not_allowed(str(address)))
    return address


def _not_allowed(host: str) -> str:
    return (
        f"{host} is not a public address: use a public one, "
        "or ask the operator to add its network to SAGAHOLD_EGRESS_ALLOW"
    )
