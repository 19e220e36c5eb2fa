"""A closed loop: each client sends its next request as soon as the previous one is answered.

One thread serves the sockets of all clients, because a thread per client would cost more than the requests.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Self

from bench.wire import PATIENCE, BenchError, Server, check, missing


@dataclass(frozen=True)
class Load:
    """Requests per second, and their latencies in milliseconds."""

    rate: float
    p50: float
    p99: float

    @classmethod
    def of(cls, latencies: list[float], seconds: float) -> Self:
        """Return the load of `latencies` (seconds) that were measured within `seconds`."""
        return cls(len(latencies) / seconds, quantile(latencies, 0.5), quantile(latencies, 0.99))


def quantile(seconds: list[float], part: float) -> float:
    """Return the milliseconds that this share of the latencies does not exceed."""
    if not seconds:
        raise BenchError("nothing was answered while it was measured")
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def one_at_a_time(latencies: list[float]) -> Load:
    return Load.of(latencies, sum(latencies))


def middle(loads: list[Load]) -> Load:
    return Load(*(median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99")))


def drive(server: Server, clients: int, requests: Iterator[bytes], seconds: float, warm_up: float) -> Load:
    """Send `requests` until the time is up or none are left. Raises `BenchError` at the first failed one."""
    loop = _Loop(requests, time.perf_counter() + warm_up, warm_up + seconds)
    try:
        for _ in range(clients):
            loop.add(server.connect())
        loop.run()
    finally:
        loop.close()
    return Load.of(loop.latencies, loop.last - loop.begins)


class _Loop:
    def __init__(self, requests: Iterator[bytes], begins: float, seconds: float) -> None:
        self.begins = self.last = begins
        self.latencies: list[float] = []
        self._requests = requests
        self._ends = begins + seconds
        self._selector = selectors.DefaultSelector()
        self._sent: dict[socket.socket, float] = {}
        self._part: dict[socket.socket, bytes] = {}

    def add(self, sock: socket.socket) -> None:
        self._selector.register(sock, selectors.EVENT_READ)
        self._send(sock)

    def run(self) -> None:
        while self._sent:
            ready = self._selector.select(PATIENCE)
            if not ready:
                raise BenchError(f"{len(self._sent)} requests were not answered within {PATIENCE} s")
            for key, _ in ready:
                self._read(key.fileobj)  # type: ignore[arg-type]

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _send(self, sock: socket.socket) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._sent[sock] = time.perf_counter()
            sock.sendall(request)

    def _read(self, sock: socket.socket) -> None:
        data = sock.recv(262_144)
        if not data:
            raise BenchError("the server closed the connection")
        answer = self._part.pop(sock, b"") + data
        if missing(answer):
            self._part[sock] = answer
            return
        now, began = time.perf_counter(), self._sent.pop(sock)
        check(answer)
        if self.begins <= now <= self._ends:
            self.latencies.append(now - began)
            self.last = now
        if now < self._ends:
            self._send(sock)
