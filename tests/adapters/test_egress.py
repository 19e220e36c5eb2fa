"""The egress guard on real sockets: what is sent, where it may go, and whom it trusts. Limits: test_egress_limits."""

import logging
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from adapters.egress import Egress, EgressBlocked, EgressFailed, Response, resolve_by_system
from domain.values.network import Address
from tests.adapters.receiver import Exchange, Receiver, reply

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TLS = Path(__file__).with_name("tls")
# Far longer than any answer takes here.
PLENTY = 30.0


class Names:
    """A name server that gives the next answer each time it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        return [ip_address(text) for text in self._answers[len(self.asked) - 1]]


def post(url: str, names: Names | None = None, **headers: str) -> Response:
    egress = Egress(LOOPBACK, names) if names else Egress(LOOPBACK)
    return egress.send(url, b"{}", headers, PLENTY)


# The request


def test_sends_what_it_was_given_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Body and headers arrive; the name is the Host; a proxy of the environment is not used."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Receiver(reply(201, b"thanks", retry_after="120")) as receiver:
        egress = Egress(LOOPBACK, Names(["127.0.0.1"]))
        body = b'{"n": 1}' * 50_000
        answer = egress.send(receiver.url_as("hooks.test", "/a?b=c"), body, {"X-Token": "t", "Webhook-Id": "m"}, PLENTY)
    assert (answer.status, answer.excerpt, answer.retry_after) == (201, b"thanks", "120")
    assert answer.duration_ms >= 0
    [request] = receiver.requests
    assert request.line == "POST /a?b=c HTTP/1.1"
    assert request.body == body
    assert request.headers == {
        "host": f"hooks.test:{receiver.port}",
        "user-agent": "Sagahold",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "content-length": str(len(body)),
        "x-token": "t",
        "webhook-id": "m",
    }


def has(host: str) -> bool:
    """Containers are often without IPv6."""
    try:
        with Receiver(host=host):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", [host for host in ("127.0.0.1", "::1") if has(host)])
def test_literal_address(host: str) -> None:
    """No name is looked up; the brackets of IPv6 are in the Host and not in the address."""
    with Receiver(host=host) as receiver:
        assert post(receiver.url, Names()).status == 200
    assert receiver.requests[0].headers["host"] == receiver.url.split("/")[2]


@pytest.mark.parametrize("name", ["Host", "hOST", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade"])
def test_framing_and_host_cannot_be_set(name: str) -> None:
    """They would let one who may set headers speak to another virtual host or smuggle a second request."""
    with Receiver() as receiver, pytest.raises(EgressFailed, match=f"header {name.lower()} cannot be set"):
        post(receiver.url, **{name: "5"})
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "secret\r\nX-Evil: 1"),
        ("X-A", "secret\nX-Evil: 1"),
        ("X-A", "secret\r\n\r\nPOST /admin HTTP/1.1"),
        ("X-A", "secret\x00"),
        ("X-A: 1\r\nX-Evil", "secret"),
        ("X A", "secret"),
        ("", "secret"),
        ("X-A", "sécret"),
        ("X-É", "secret"),
    ],
)
def test_header_injection(name: str, value: str) -> None:
    """No part of such a request is sent, and its value is not repeated in the reason."""
    with Receiver() as receiver:
        with pytest.raises(EgressFailed, match="custom header") as caught:
            post(receiver.url, **{name: value})
        assert "cret" not in str(caught.value)
    assert receiver.requests == []


def test_newline_in_url() -> None:
    """A stored URL is checked again before it is used."""
    with Receiver() as receiver, pytest.raises(EgressBlocked, match="character"):
        post(f"{receiver.url}\r\nX-Evil: 1")
    assert receiver.connections == 0


# Where it goes


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "api.localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"]
)
def test_loopback_is_blocked_by_default(host: str) -> None:
    """Without an allowed network nothing on this machine is reached, however it is written."""
    with Receiver() as receiver, pytest.raises(EgressBlocked):
        Egress(()).send(receiver.url_as(host), b"", {}, PLENTY)
    assert receiver.connections == 0


def test_mapped_literal_goes_to_the_ipv4_address() -> None:
    """The connection goes to the checked address."""
    with Receiver() as receiver:
        assert post(receiver.url_as("[::ffff:127.0.0.1]")).status == 200


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["::ffff:127.0.0.1"],
        ["2606:2800:21f::1", "64:ff9b::7f00:1"],
    ],
)
def test_name_with_a_private_address(answers: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """One forbidden address among allowed ones is enough. Only the operator's log names it, not the error."""
    with (
        Receiver() as receiver,
        caplog.at_level(logging.WARNING),
        pytest.raises(EgressBlocked, match="not public") as caught,
    ):
        Egress((), Names(answers)).send(receiver.url_as("hooks.test"), b"", {}, PLENTY)
    assert receiver.connections == 0
    assert "127.0.0.1" not in str(caught.value)
    [record] = caplog.records
    assert record.addresses in (["127.0.0.1"], ["64:ff9b::7f00:1"])  # type: ignore[attr-defined]


def test_no_address_is_tried_before_all_are_checked() -> None:
    """The receiver is at the first, allowed address; the last of many is forbidden."""
    names = Names(["127.0.0.1"] * 9 + ["10.0.0.1"])
    with Receiver() as receiver, pytest.raises(EgressBlocked):
        post(receiver.url_as("hooks.test"), names)
    assert receiver.connections == 0


def test_rebinding() -> None:
    """The name is looked up once; what it would answer next has no say."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    with Receiver() as receiver:
        assert post(receiver.url_as("hooks.test"), names).status == 200
        assert names.asked == ["hooks.test"]
        with pytest.raises(EgressBlocked):
            Egress(LOOPBACK, names).send(receiver.url_as("hooks.test"), b"", {}, PLENTY)
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_only_an_answer(status: int) -> None:
    """Wherever it points to: here to a receiver that could be reached."""
    with Receiver() as inner, Receiver(reply(status, location=inner.url)) as receiver:
        assert post(receiver.url).status == status
    assert inner.connections == 0
    assert receiver.connections == 1


def test_next_address_when_one_refuses() -> None:
    """No server listens at the first address."""
    with Receiver(host="127.0.0.1") as receiver:
        assert post(receiver.url_as("hooks.test"), Names(["::1", "127.0.0.1"])).status == 200


def test_connection_refused() -> None:
    """The reason is the system's, in short."""
    with Receiver() as receiver:
        url = receiver.url
    with pytest.raises(EgressFailed, match=r"^the connection failed: connection refused$"):
        post(url)


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_NONAME, "no such name"), UnicodeError("label too long")])
def test_name_that_does_not_resolve(error: Exception) -> None:
    """The resolver says so, cannot even ask, or has nothing to say."""

    def fail(_host: str) -> list[Address]:
        raise error

    for names in (fail, Names([])):
        with pytest.raises(EgressFailed, match=r"the name hooks\.test does not resolve"):
            Egress((), names).send("http://hooks.test/", b"", {}, PLENTY)


def test_system_resolver() -> None:
    """It gives addresses, each once."""
    found = resolve_by_system("localhost")
    assert found
    assert set(found) <= {ip_address("127.0.0.1"), ip_address("::1")}
    assert len(found) == len(set(found))


def test_places_of_lookups_are_released() -> None:
    """More lookups than may run at once, failing and not, one after the other."""
    with Receiver() as receiver:
        egress = Egress(LOOPBACK, Names(*[["127.0.0.1"], []] * 40))
        for _ in range(40):
            assert egress.send(receiver.url_as("hooks.test"), b"", {}, PLENTY).status == 200
            with pytest.raises(EgressFailed):
                egress.send(receiver.url_as("hooks.test"), b"", {}, PLENTY)


# TLS


def server_tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / certificate)
    return context


def test_trusted_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority that the operator added; the name is used for SNI and checked, though we connect to an address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "ca.pem"))
    with Receiver(tls=server_tls("hooks.test.pem")) as receiver:
        assert post(receiver.url_as("hooks.test"), Names(["127.0.0.1"])).status == 200
        with pytest.raises(EgressFailed, match="not trusted: Hostname mismatch"):
            post(receiver.url_as("other.test"), Names(["127.0.0.1"]))
        with pytest.raises(EgressFailed, match="not trusted: IP address mismatch"):
            post(receiver.url)
    assert receiver.server_names == ["hooks.test", "other.test", None]
    assert [request.headers["host"] for request in receiver.requests] == [f"hooks.test:{receiver.port}"]


@pytest.mark.parametrize("certificate", ["self-signed.pem", "hooks.test.pem"])
def test_untrusted_certificate(certificate: str) -> None:
    """A self-signed certificate or an unknown authority: nothing is sent."""
    with (
        Receiver(tls=server_tls(certificate)) as receiver,
        pytest.raises(EgressFailed, match="certificate is not trusted"),
    ):
        post(receiver.url_as("hooks.test"), Names(["127.0.0.1"]))
    assert receiver.requests == []


def test_plain_http_behind_https() -> None:
    """Short, and without what the other side said."""

    def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Receiver(script) as receiver, pytest.raises(EgressFailed, match=r"^TLS failed: [A-Z0-9_]+$"):
        post(receiver.url.replace("http:", "https:"))
