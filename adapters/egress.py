"""Outbound HTTP: one request to a checked address, with one deadline for the whole request.

The name is resolved once, every address is checked, and the connection goes to a checked address. A name that resolves
differently later (DNS rebinding) therefore leads nowhere else. Redirects are not followed, proxies are not used, and
compressed bodies are not decompressed.
"""

import contextlib
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

import httpcore

from domain.values.network import Address, Network, is_allowed, unmapped
from domain.values.url import Url, read_url

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
EXCERPT_BYTES = 1024
# The limit for all received bytes. The headers take 100 KiB and one read (by h11). 64 KiB of body take six times as
# much if each byte is a chunk (6 bytes on the wire). It stops an endless sequence of `100 Continue` responses.
_MAX_WIRE_BYTES = 640 * 1024
# The system's resolver occupies a thread for its whole timeout (10–40 s), even after the request has ended.
_MAX_LOOKUPS = 64
# Further addresses are checked but not tried, so that each tried one gets a useful share of the time.
_MAX_TRIES = 4
# `Retry-After` holds a number or a date of 29 characters.
_MAX_RETRY_AFTER = 64
# Headers that frame or route the message are set only here.
_OUR_HEADERS = frozenset(
    ("accept-encoding", "connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade")
)

Resolve = Callable[[str], Sequence[Address]]


class EgressBlocked(Exception):
    """The URL leads to an address that requests may not reach. Nothing was sent."""


class EgressTimeout(Exception):
    """No complete response arrived before the deadline."""


class EgressFailed(Exception):
    """The request could not be sent, or its response could not be read."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    excerpt: bytes  # the first 1 KiB of the body, as received
    duration_ms: int
    retry_after: str | None  # the header as received, unchecked


def resolve_by_system(host: str) -> list[Address]:
    """Return the system resolver's addresses, in its order. Blocks for the resolver's timeout. Raises `gaierror`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class Egress:
    """A client for outbound requests, safe to share between threads. `allow` names reachable non-public networks."""

    def __init__(self, allow: Sequence[Network], resolve: Resolve = resolve_by_system) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def send(
        self, url: str, body: bytes, headers: Mapping[str, str], deadline_seconds: float, method: str = "POST"
    ) -> Response:
        """Send the request once and return the response, whatever its status.

        Raises `EgressBlocked`, `EgressTimeout` or `EgressFailed`. Their texts may be stored and shown: they contain no
        secret, no header value and no resolved address.
        """
        started = time.monotonic()
        deadline = _Deadline(started + deadline_seconds)
        stream = None
        try:
            target = self._checked(url)
            lines = _header_lines(target, headers)
            stream = self._open(target, self._addresses(target, deadline), deadline)
            status, excerpt, retry_after = _exchange(stream, method, target, lines, body)
        except TimeoutError:
            raise EgressTimeout(f"no complete answer within {deadline_seconds:g} s") from None
        except (httpcore.RemoteProtocolError, OSError) as error:
            raise EgressFailed(_reason(error, stream)) from None
        finally:
            if stream is not None:
                stream.close()
        return Response(status, excerpt, round((time.monotonic() - started) * 1000), retry_after)

    def _checked(self, url: str) -> Url:
        # The allowed networks may have changed since the URL was checked and stored.
        try:
            return read_url(url, self._allow)
        except ValueError as error:
            raise EgressBlocked(str(error)) from None

    def _addresses(self, target: Url, deadline: "_Deadline") -> list[Address]:
        if target.addresses:
            return [unmapped(address) for address in target.addresses]
        try:
            addresses = [unmapped(address) for address in self._look_up(target.host, deadline)]
        except (socket.gaierror, UnicodeError):
            addresses = []
        if not addresses:
            raise EgressFailed(f"the name {target.host} does not resolve")
        refused = [str(address) for address in addresses if not is_allowed(address, self._allow)]
        if refused:
            # Only the log has the address; in the error it would reveal the internal network to the URL's author.
            log.warning("egress blocked", extra={"host": target.host, "addresses": refused})
            raise EgressBlocked(
                f"the name {target.host} resolves to an address that is not public: use another, "
                "or have the operator name its network in SAGAHOLD_EGRESS_ALLOW"
            )
        return addresses

    def _look_up(self, host: str, deadline: "_Deadline") -> Sequence[Address]:
        """Resolve on a separate thread, because a lookup cannot be interrupted. Raises `TimeoutError`."""
        if not self._lookups.acquire(timeout=deadline.left()):
            raise TimeoutError
        answer: Future[Sequence[Address]] = Future()

        def look_up() -> None:
            try:
                answer.set_result(self._resolve(host))
            except Exception as error:  # the waiting caller handles every error
                answer.set_exception(error)
            finally:
                self._lookups.release()

        threading.Thread(target=look_up, name="egress-lookup", daemon=True).start()
        return answer.result(timeout=deadline.left())

    def _open(self, target: Url, addresses: Sequence[Address], deadline: "_Deadline") -> "_Stream":
        sock = _connect(addresses[:_MAX_TRIES], target.port, deadline)
        if target.scheme == "https":
            try:
                sock.settimeout(deadline.left())
                sock = self._tls.wrap_socket(sock, server_hostname=target.host)
            except BaseException:
                sock.close()
                raise
        return _Stream(sock, deadline)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # It trusts the system's certificates (or SSL_CERT_FILE), where operators add their own authorities, and
        # certifi's, because slim images have none. Reading them takes tens of milliseconds, so it happens once, on use.
        context = httpcore.default_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


class _Deadline:
    """The end of a request on the monotonic clock; every wait of the request is measured against it."""

    def __init__(self, at: float) -> None:
        self._at = at

    def left(self) -> float:
        """Return the seconds left, more than zero. Raises `TimeoutError` if none are left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Stream(httpcore.NetworkStream):
    """A connected socket that stops at the deadline. httpcore's own timeouts restart with each read and write."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self.received = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.received > _MAX_WIRE_BYTES:
            raise EgressFailed("the answer has too much around its body (interim answers or chunk headers)")
        self._sock.settimeout(self._deadline.left())
        data = self._sock.recv(max_bytes)
        self.received += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        while rest:
            self._sock.settimeout(self._deadline.left())
            try:
                rest = rest[self._sock.send(rest) :]
            except OSError as error:
                # httpcore then looks for an early response, such as a 413. After a timeout, no time is left for that.
                raise httpcore.WriteError from error

    def close(self) -> None:
        self._sock.close()


def _connect(addresses: Sequence[Address], port: int, deadline: _Deadline) -> socket.socket:
    """Try the addresses in turn, each with its share of the time left. Raises the last address's `OSError`."""
    *others, last = addresses
    for number, address in enumerate(others):
        with contextlib.suppress(OSError):
            return _connect_to(address, port, deadline.left() / (len(addresses) - number))
    return _connect_to(last, port, deadline.left())


def _connect_to(address: Address, port: int, seconds: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect((str(address), port))
        # Headers and body are two writes, and the second must not wait for the first to be acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _header_lines(target: Url, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    custom = {name.lower(): value for name, value in headers.items()}
    if ours := sorted(_OUR_HEADERS & custom.keys()):
        raise EgressFailed(f"the header {ours[0]} cannot be set: remove it from the custom headers")
    lines = {
        "host": target.authority,
        "user-agent": "Sagahold",
        "accept": "*/*",
        "accept-encoding": "identity",
        # No reuse: receivers are many and calls to each are rare, and a reused connection would outlive its check.
        "connection": "close",
        **custom,
    }
    try:
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in lines.items()]
    except UnicodeEncodeError:
        raise EgressFailed("a custom header is not ASCII: correct its name or value") from None


def _exchange(
    stream: _Stream, method: str, target: Url, lines: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes, str | None]:
    """Send the request and read the response. The status counts even if the body exceeds the limit."""
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.target)
    connection = httpcore.HTTP11Connection(origin=url.origin, stream=stream)
    try:
        with connection.stream(method, url, headers=lines, content=body) as response:
            excerpt, length = b"", 0
            for chunk in response.iter_stream():
                excerpt += chunk[: EXCERPT_BYTES - len(excerpt)]
                length += len(chunk)
                if length >= MAX_BODY_BYTES:
                    break
            return response.status, excerpt, _retry_after(response.headers)
    except httpcore.LocalProtocolError:
        # h11's message would show the value.
        raise EgressFailed("a custom header has a name or value that HTTP does not allow: correct it") from None


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name.lower() == b"retry-after":
            return value[:_MAX_RETRY_AFTER].decode("ascii", "replace")
    return None


def _reason(error: Exception, stream: _Stream | None) -> str:
    """Return a short reason in our or the system's words, never in the receiver's."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the TLS certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason}"
        case httpcore.RemoteProtocolError() if stream is not None and not stream.received:
            return "the connection was closed without an answer"
        case httpcore.RemoteProtocolError():
            return "the answer is not HTTP/1.1, is cut off, or has more than 100 KiB of headers"
        case OSError(errno=int(number)):
            return f"the connection failed: {os.strerror(number).lower()}"
    return "the connection failed"
