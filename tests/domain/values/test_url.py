"""URLs that may be stored as receivers, their normal form, and the errors for the others."""

from ipaddress import ip_address, ip_network

import pytest

from domain.values.url import MAX_URL_LENGTH, check_url, read_url

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://hooks.example.com/in?a=1&b[]=2%20x", "https://hooks.example.com/in?a=1&b[]=2%20x"),
        ("HTTPS://Hooks.Example.COM./In", "https://hooks.example.com/In"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com?x=1", "http://example.com/?x=1"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:65535/@me", "http://example.com:65535/@me"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://my_service.cluster.internal/", "http://my_service.cluster.internal/"),
        ("http://receiver:9000/", "http://receiver:9000/"),
        ("http://1.2.3.4.example/", "http://1.2.3.4.example/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://8.8.8.8.:81/", "http://8.8.8.8:81/"),
        ("http://[2606:4700:4700:0::1111]/", "http://[2606:4700:4700::1111]/"),
        ("http://[2606:4700:4700::1111]:8080/x", "http://[2606:4700:4700::1111]:8080/x"),
    ],
)
def test_accepted(text: str, stored: str) -> None:
    """A stored URL is accepted again and stays as it is."""
    assert check_url(text, ()) == stored
    assert check_url(stored, ()) == stored


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "must begin with http"),
        ("hooks.example.com/in", "must begin with http"),
        ("//example.com/", "must begin with http"),
        ("http:/example.com/", "must begin with http"),
        ("ftp://example.com/", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("http+unix://example.com/", "must begin with http"),
        ("http:///path", "no host"),
        ("http://", "no host"),
        ("http://:80/", "no host"),
        ("http://user@example.com/", "custom header"),
        ("http://user:secret@example.com/", "custom header"),
        ("http://example.com@127.0.0.1/", "custom header"),
        ("http://example.com/#part", "fragment"),
        ("http://example.com#@127.0.0.1/", "fragment"),
        (" http://example.com/", "percent-encode"),
        ("http://example.com/\n", "percent-encode"),
        ("http://exa\tmple.com/", "percent-encode"),
        ("http://example.com/a b", "percent-encode"),
        ("http://example.com/\r\nX-Evil: 1", "percent-encode"),
        ("http://example.com/\x00", "percent-encode"),
        ("http://example.com/\x7f", "percent-encode"),
        ("http://example.com\\@127.0.0.1/", "write / instead"),
        ("http:\\\\example.com/", "write / instead"),
        ("http://bücher.example/", "xn-- form"),
        ("http://①②⑦.⓪.⓪.①/", "xn-- form"),
        ("http://example。com/", "xn-- form"),
        ("http://example.com/\ud800", "xn-- form"),
        ("http://example.com/ü", "xn-- form"),
        ("http://example.com:/", "port ''"),
        ("http://example.com:0/", "port '0'"),
        ("http://example.com:080/", "port '080'"),
        ("http://example.com:65536/", "port '65536'"),
        ("http://example.com:-1/", "port '-1'"),
        ("http://example.com:80:81/", "port '80:81'"),
        ("http://%31%32%37.0.0.1/", "not a host name"),
        ("http://exa%6dple.com/", "not a host name"),
        ("http://-example.com/", "not a host name"),
        ("http://example-.com/", "not a host name"),
        ("http://example..com/", "not a host name"),
        ("http://.example.com/", "not a host name"),
        ("http://example.com../", "not a host name"),
        ("http://./", "not a host name"),
        ("http://a,b/", "not a host name"),
        ("http://" + "a" * 64 + ".com/", "not a host name"),
        ("http://" + "a." * 127 + "com/", "not a host name"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://0177.0.0.1/", "four decimal numbers"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://example.0x7f/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://127.0.0.01/", "four decimal numbers"),
        ("http://8.8.8.010/", "four decimal numbers"),
        ("http://256.8.8.8/", "four decimal numbers"),
        ("http://8.8.8.8.8/", "four decimal numbers"),
        ("http://8.8.8/", "four decimal numbers"),
        ("http://example.com.1/", "four decimal numbers"),
        ("http://0/", "four decimal numbers"),
        ("http://127.0.0.1/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://127.0.0.1.:8000/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://0.0.0.0/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://10.0.0.1/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://169.254.169.254/latest/meta-data/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[::1]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[::]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[::ffff:10.0.0.1]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[::ffff:a00:1]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[::127.0.0.1]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[64:ff9b::a00:1]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[fd00:ec2::254]/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://[fe80::1%25eth0]/", "zone id"),
        ("http://[2606:4700::1%251]/", "zone id"),
        ("http://[2606:4700::zz]/", "not an IPv6 address"),
        ("http://[8.8.8.8]/", "not an IPv6 address"),
        ("http://[v1.x]/", "not an IPv6 address"),
        ("http://[]/", "not an IPv6 address"),
        ("http://[2606:4700::1/", "in brackets"),
        ("http://[2606:4700::1]x/", "in brackets"),
        ("http://2606:4700::1/", "port"),
        ("http://localhost/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://LOCALHOST.:8000/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://api.localhost/", "SAGAHOLD_EGRESS_ALLOW"),
        ("http://example.com/" + "a" * MAX_URL_LENGTH, "at most 2048"),
    ],
)
def test_refused(text: str, part: str) -> None:
    """Each error says what to do about it, and never shows a password."""
    with pytest.raises(ValueError, match=r"URL|host|port|address|zone") as caught:
        check_url(text, ())
    assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_longest() -> None:
    """2048 characters are in, one more is out."""
    longest = "http://example.com/".ljust(MAX_URL_LENGTH, "a")
    assert check_url(longest, ()) == longest
    with pytest.raises(ValueError, match="at most 2048"):
        check_url(longest + "a", ())


def test_allowed_networks_open_their_literals_only() -> None:
    """The operator's list admits what is in it, in every form that is canonical."""
    assert check_url("http://127.0.0.1:9000/x", LOOPBACK) == "http://127.0.0.1:9000/x"
    assert check_url("http://[0:0::1]:9000/", LOOPBACK) == "http://[::1]:9000/"
    assert read_url("http://[::ffff:127.0.0.1]/", LOOPBACK).addresses == (ip_address("::ffff:127.0.0.1"),)
    for text in ("http://10.0.0.1/", "http://127.1/", "http://[::ffff:10.0.0.1]/"):
        with pytest.raises(ValueError, match="address"):
            check_url(text, LOOPBACK)


def test_localhost_is_what_is_allowed_of_loopback() -> None:
    """No resolver has a say in it, and a single allowed family is enough."""
    v4, v6 = ip_address("127.0.0.1"), ip_address("::1")
    assert read_url("http://localhost:9000/", LOOPBACK).addresses == (v4, v6)
    assert read_url("http://localhost:9000/", LOOPBACK[:1]).addresses == (v4,)
    assert read_url("http://Api.Localhost./", LOOPBACK[1:]).addresses == (v6,)
    assert read_url("http://localhost.example.com/", ()).addresses == ()
    with pytest.raises(ValueError, match="not a public address"):
        read_url("http://localhost/", (ip_network("10.0.0.0/8"),))
