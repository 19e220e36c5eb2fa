"""The addresses that outbound requests may reach.

`ipaddress.is_global` is True for several networks that lead inside: NAT64, IPv4-compatible, site-local, multicast and
others. Its result also differs between Python releases. This module has its own list and uses only `in` of
`ipaddress`, so every release gives the same result.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; many systems route it to themselves
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; one cloud keeps its metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host agent of a large cloud, on a public-looking address
        "169.254.0.0/16",  # link-local, with the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; one cloud keeps its metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays (withdrawn)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# All allocated public IPv6 addresses begin with 001. The rest is loopback, IPv4-compatible, NAT64 (64:ff9b::/96 and
# 64:ff9b:1::/48), discard, segment routing (5f00::/16), private (fc00::/7), link-local, site-local (fec0::/10),
# multicast or not allocated.
_ALLOCATED_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo (2001::/32) carries an IPv4 address inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address inside
        "3fff::/20",  # documentation
    )
)


def unmapped(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped one (`::ffff:10.0.0.1`), where a connection would go."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Return whether this is an ordinary Internet address. An IPv4-mapped one counts as its IPv4 address."""
    address = unmapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _ALLOCATED_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def is_allowed(address: Address, allow: Sequence[Network]) -> bool:
    """Return whether a request may connect there: the address is public, or inside a network in `allow`."""
    address = unmapped(address)
    return is_public(address) or any(address in network for network in allow)


def reached(host: str) -> str:
    """Return the host by which a local client reaches a server that listens there, loopback for "all addresses"."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def is_loopback(host: str) -> bool:
    """Return whether the host is `localhost` or a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
