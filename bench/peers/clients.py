"""Many connections on one thread, and the events that the measured applications tell."""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self

from bench.wire import BenchError, Server, check, missing

# Datagrams that come while the bench is busy with answers wait in the kernel.
BUFFER_BYTES = 4 * 1024 * 1024


class Event(NamedTuple):
    kind: str
    token: str
    at: float
    extra: str


class Events:
    """The socket to which applications tell `held`, `resumed` and `done`, on the monotonic clock."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def read(self) -> list[Event]:
        found = []
        while True:
            try:
                parts = self.socket.recv(1_000).decode().split()
            except BlockingIOError:
                return found
            found.append(Event(parts[0], parts[1], float(parts[2]), parts[3] if len(parts) > 3 else "-"))

    def close(self) -> None:
        self.socket.close()


class Clients:
    """Up to `number` connections to one server. `send` queues, `turn` moves everything on."""

    def __init__(self, server: Server, number: int, events: Events) -> None:
        self._server, self._number = server, number
        self._selector = selectors.DefaultSelector()
        self._selector.register(events.socket, selectors.EVENT_READ)
        self._idle: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._busy: dict[socket.socket, tuple[bytes, Callable[[bytes], None]]] = {}
        self._queue: deque[tuple[bytes, Callable[[bytes], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._open:
            sock.close()
        self._selector.close()

    def send(self, request: bytes, then: Callable[[bytes], None] = lambda body: None) -> None:
        """Send the request as soon as a connection is free; `then` gets the body of its 2xx answer."""
        self._queue.append((request, then))
        self._start()

    def turn(self, seconds: float) -> None:
        """Read what has come, waiting this long for the first of it. An event only ends the wait."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj in self._open:
                self._read(key.fileobj)  # type: ignore[arg-type]
        self._start()

    def _start(self) -> None:
        while self._queue and (self._idle or len(self._open) < self._number):
            sock = self._idle.pop() if self._idle else self._connect()
            request, then = self._queue.popleft()
            self._busy[sock] = (b"", then)
            sock.sendall(request)

    def _connect(self) -> socket.socket:
        sock = self._server.connect()
        self._open.add(sock)
        self._selector.register(sock, selectors.EVENT_READ)
        return sock

    def _read(self, sock: socket.socket) -> None:
        data = sock.recv(262_144)
        if not data:
            if sock in self._busy:
                raise BenchError("the server closed the connection of a request")
            self._idle.remove(sock)
            self._open.remove(sock)
            self._selector.unregister(sock)
            sock.close()
            return
        before, then = self._busy[sock]
        answer = before + data
        if missing(answer):
            self._busy[sock] = (answer, then)
            return
        check(answer)
        del self._busy[sock]
        self._idle.append(sock)
        then(answer.partition(b"\r\n\r\n")[2])


def deadline(seconds: float, what: str) -> Callable[[], None]:
    """Return a check that raises `BenchError` once the time is up."""
    until = time.monotonic() + seconds

    def check_time() -> None:
        if time.monotonic() > until:
            raise BenchError(f"{what} within {seconds:g} s")

    return check_time
