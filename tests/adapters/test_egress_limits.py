"""The limits of one POST on real sockets: how long it may take, and how much of an answer is read."""

import gzip
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from adapters.egress import Egress, EgressFailed, EgressTimeout, Response
from domain.values.network import Address
from tests.adapters.receiver import Exchange, Receiver, Script, reply

LOOPBACK = (ip_network("127.0.0.0/8"),)
# Far longer than any answer takes here; the tests of the deadline give their own.
PLENTY = 30.0
GIB = 1024**3


def post(url: str, deadline: float = PLENTY) -> Response:
    return Egress(LOOPBACK).send(url, b"{}", {}, deadline)


def _drips_headers(exchange: Exchange) -> None:
    exchange.read()
    exchange.drip(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def _drips_body(exchange: Exchange) -> None:
    exchange.read()
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n")
    exchange.drip(b"." * 30)


def _drips_interim_answers(exchange: Exchange) -> None:
    exchange.read()
    exchange.drip(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def _never_answers(exchange: Exchange) -> None:
    exchange.read()
    exchange.hold()


@pytest.mark.parametrize("script", [_drips_headers, _drips_body, _drips_interim_answers, _never_answers])
def test_slow_receiver(script: Script) -> None:
    """One wall clock for all: a byte now and then does not buy more time."""
    with Receiver(script) as receiver, pytest.raises(EgressTimeout, match=r"^no complete answer within 0\.5 s$"):
        post(receiver.url, deadline=0.5)


def test_receiver_that_never_reads() -> None:
    """The body is more than the socket buffers hold."""
    with Receiver(Exchange.hold) as receiver, pytest.raises(EgressTimeout):
        Egress(LOOPBACK).send(receiver.url, bytes(32 * 1024**2), {}, 0.5)


def test_tls_handshake_that_never_comes() -> None:
    """The port is open, but silent."""
    with Receiver(Exchange.hold) as receiver, pytest.raises(EgressTimeout):
        post(receiver.url.replace("http:", "https:"), deadline=0.5)


def test_connection_that_is_never_accepted() -> None:
    """A full backlog drops the handshake of TCP: every address gets a share of the time, none more than is left."""
    egress = Egress(LOOPBACK, lambda _host: [ip_address("127.0.0.1")] * 2)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),
        pytest.raises(EgressTimeout),
    ):
        egress.send(f"http://hooks.test:{server.getsockname()[1]}/", b"", {}, 0.5)


def test_resolver_that_hangs() -> None:
    """The deadline holds for the lookup too."""
    asked, answer = threading.Event(), threading.Event()

    def hang(_host: str) -> list[Address]:
        asked.set()
        answer.wait()
        return []

    with pytest.raises(EgressTimeout):
        Egress(LOOPBACK, hang).send("http://hooks.test/", b"", {}, 0.5)
    assert asked.is_set()
    answer.set()


def test_one_gigabyte_with_200() -> None:
    """The status counts, and the rest of the body is not read."""
    sent, ended = [0], threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % GIB)
        try:
            while sent[0] < GIB:
                exchange.send(b"x" * 65_536)
                sent[0] += 65_536
        finally:
            ended.set()

    with Receiver(script) as receiver:
        answer = post(receiver.url)
        assert (answer.status, answer.excerpt) == (200, b"x" * 1024)
        assert ended.wait(30)
    assert sent[0] < GIB // 16  # what fits into the socket buffers


def test_compressed_body_is_not_undone() -> None:
    """50 MB of zeros in 50 KB: kept as they came."""
    bomb = gzip.compress(bytes(50_000_000))
    with Receiver(reply(200, bomb, content_encoding="gzip")) as receiver:
        assert post(receiver.url).excerpt == bomb[:1024]


def test_body_without_length() -> None:
    """An answer in the manner of HTTP/1.0 ends with the connection; one in chunks with the last chunk."""

    def old(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.0 202 Accepted\r\n\r\nold")

    def chunks(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nc\r\n" * 60_000 + b"0\r\n\r\n")

    with Receiver(old) as receiver:
        assert post(receiver.url).excerpt == b"old"
        receiver.script = chunks
        assert post(receiver.url).excerpt == b"c" * 1024


def test_interim_answers_are_passed_over() -> None:
    """An ordinary `100 Continue` does no harm."""

    def script(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.reply(204)

    with Receiver(script) as receiver:
        assert post(receiver.url).status == 204


def test_early_answer_to_a_body_that_was_not_read() -> None:
    """A receiver that refuses the size closes before all was sent: its answer counts, not the broken pipe."""

    def script(exchange: Exchange) -> None:
        exchange.reply(413, b"too much")
        exchange.close()

    with Receiver(script) as receiver:
        assert Egress(LOOPBACK).send(receiver.url, bytes(32 * 1024**2), {}, PLENTY).status == 413


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed without an answer"),
        (b"secret\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nse cret: 1\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", "cut off"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"secret" * 50_000 + b"\r\n\r\n", "100 KiB of headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: secret\r\n" * 50_000 + b"\r\n", "100 KiB of headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, "too much around"),
    ],
)
def test_broken_answer(answer: bytes, reason: str) -> None:
    """Nothing of what the receiver wrote gets into the reason."""

    def script(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(answer)

    with Receiver(script) as receiver, pytest.raises(EgressFailed, match=reason) as caught:
        post(receiver.url)
    assert "cret" not in str(caught.value)


def test_retry_after_is_bounded() -> None:
    """Only a short text of any value is kept."""
    with Receiver(reply(503, retry_after="9" * 10_000)) as receiver:
        assert post(receiver.url).retry_after == "9" * 64
