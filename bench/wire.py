"""A minimal HTTP/1.1 client, because the load generator shares the machine with the measured stack."""

import json
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# A slower response is an error, not a figure. Seconds.
PATIENCE = 90.0


class BenchError(Exception):
    """A failed request, which makes the figure worthless."""


@dataclass(frozen=True)
class Server:
    """The address for requests."""

    url: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def request(self, method: str, path: str, key: str | None = None, document: Any = None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}"]
        if key is not None:
            lines.append(f"Authorization: Bearer {key}")
        body = b""
        if document is not None:
            body = json.dumps(document).encode()
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def missing(answer: bytes) -> int:
    """Return the missing bytes of a response with a Content-Length, 0 if it is complete."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 1
    found = _LENGTH.search(answer, 0, end)
    if found is None:
        raise BenchError(f"an answer without Content-Length: {answer[:300]!r}")
    return max(0, end + 4 + int(found[1]) - len(answer))


def check(answer: bytes) -> None:
    if answer[9:10] != b"2":
        raise BenchError(f"not a good answer: {answer[:800].decode('utf-8', 'replace')}")


class Connection:
    """One keep-alive connection with one request at a time."""

    def __init__(self, server: Server) -> None:
        self._sock = server.connect()

    def call(self, request: bytes) -> bytes:
        """Return the response's body. Raises `BenchError` unless its status is 2xx."""
        self._sock.sendall(request)
        answer = b""
        while missing(answer):
            data = self._sock.recv(65_536)
            if not data:
                raise BenchError("the server closed the connection")
            answer += data
        check(answer)
        return answer.partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        self._sock.close()
