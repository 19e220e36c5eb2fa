"""A webhook receiver on a bare socket, which answers as a script says: rightly, wrongly, slowly or never."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Exchange:
    """One connection, as a script sees it."""

    def __init__(self, receiver: "Receiver", sock: socket.socket) -> None:
        self._receiver = receiver
        self._sock = sock

    def read(self) -> Request:
        """The whole request, also noted in `receiver.requests`."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._more()
        head, _, body = head.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        while len(body) < int(headers.get("content-length", "0")):
            body += self._more()
        request = Request(line, headers, body)
        self._receiver.note(request)
        return request

    def send(self, data: bytes) -> None:
        """Raises `OSError` once the other side is gone, which ends the script."""
        self._sock.sendall(data)

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer in full. `retry_after="5"` becomes the header `retry-after: 5`."""
        fields = {"content-length": str(len(body))} | {name.replace("_", "-"): headers[name] for name in headers}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def drip(self, data: bytes, every: float = 0.2) -> None:
        """One byte after the other."""
        for byte in data:
            if self._receiver.closing.wait(every):
                return
            self.send(bytes([byte]))

    def hold(self) -> None:
        """Keep the connection open and silent until the receiver is closed."""
        self._receiver.closing.wait()

    def finish(self) -> None:
        """Say that no more comes, and wait for the other side to close: closing first could take the answer back."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(65_536):
                pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _more(self) -> bytes:
        data = self._sock.recv(65_536)
        if not data:
            raise ConnectionResetError("closed within the request")
        return data


Script = Callable[[Exchange], None]


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Script:
    """The usual script: read the request, then answer."""

    def script(exchange: Exchange) -> None:
        exchange.read()
        exchange.reply(status, body, **headers)

    return script


class Receiver:
    """`with Receiver(reply(503)) as receiver: … receiver.url … receiver.wait_for(1)`. The script may be changed."""

    def __init__(self, script: Script | None = None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None):
        self.script = script or reply()
        self.requests: list[Request] = []
        self.connections = 0
        self.server_names: list[str | None] = []  # what TLS clients asked for (SNI)
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.server_names.append(name)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.host = f"[{host}]" if ":" in host else host
        self.port: int = self._listener.getsockname()[1]
        self._open: set[Exchange] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return self.url_as(self.host)

    def url_as(self, host: str, path: str = "/hook") -> str:
        """The URL under another name for the same machine."""
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}{path}"

    def note(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float = 90) -> list[Request]:
        """The requests, once there are `count` of them. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, seconds):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came within {seconds} s")
            return list(self.requests)

    def close(self) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the one that accepts, which close() alone does not
        self._listener.close()
        with self._changed:
            left = list(self._open)
        for exchange in left:
            exchange.close()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._changed:
                    self.connections += 1
                    self._threads.append(threading.Thread(target=self._serve, args=(sock,), daemon=True))
                    self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            exchange = Exchange(self, sock)
            with self._changed:
                self._open.add(exchange)
            try:
                self.script(exchange)
                exchange.finish()
            finally:
                exchange.close()
                with self._changed:
                    self._open.discard(exchange)
