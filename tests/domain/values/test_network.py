"""Which addresses count as public: each trap that the standard library falls into, and the neighbours of each range."""

from ipaddress import ip_address, ip_network

import pytest

from domain.values.network import is_allowed, is_public, reached, unmapped

INSIDE = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.3",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:5ef5::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
]

PUBLIC = [
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "3ffe::1",
    "3fff:1000::1",
]


@pytest.mark.parametrize("text", INSIDE)
def test_inside(text: str) -> None:
    """Nothing of these is ever reached unless the operator names it."""
    address = ip_address(text)
    assert not is_public(address)
    assert not is_allowed(address, ())
    assert is_allowed(address, (ip_network("0.0.0.0/0"), ip_network("::/0")))


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    """The neighbours of each range are not swallowed by it."""
    assert is_public(ip_address(text))
    assert is_allowed(ip_address(text), ())


def test_mapped_is_judged_as_its_ipv4() -> None:
    """Also against the networks that the operator allowed: a connection to it is one to the IPv4 address."""
    mapped = ip_address("::ffff:10.1.2.3")
    assert unmapped(mapped) == ip_address("10.1.2.3")
    assert is_allowed(mapped, (ip_network("10.1.0.0/16"),))
    assert not is_allowed(mapped, (ip_network("10.2.0.0/16"), ip_network("::/0")))


def test_allowing_one_network_opens_no_other() -> None:
    """Neither the neighbours nor the other family."""
    allow = (ip_network("127.0.0.0/8"), ip_network("fd00:1::/32"))
    assert is_allowed(ip_address("127.0.0.1"), allow)
    assert is_allowed(ip_address("fd00:1::5"), allow)
    assert not is_allowed(ip_address("::1"), allow)
    assert not is_allowed(ip_address("fd00:2::5"), allow)


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("127.0.0.2", "127.0.0.2"),
        ("hold.test", "hold.test"),
    ],
)
def test_where_a_client_reaches_a_server(host: str, client: str) -> None:
    """Nothing connects to "all addresses"."""
    assert reached(host) == client
