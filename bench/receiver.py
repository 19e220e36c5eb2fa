"""A webhook receiver that only notes when the message of each pause arrives."""

import contextlib
import re
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

from bench.wire import BenchError, missing

_WATCH_ID = re.compile(rb'"watchId":"(wch_[0-9a-f]{32})"')
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Receiver:
    """A receiver that runs inside its `with` block, at `url`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._part: dict[socket.socket, bytes] = {}
        self._arrived: dict[str, float] = {}
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    @property
    def arrivals(self) -> list[float]:
        with self._changed:
            return list(self._arrived.values())

    def wait_for(self, watch_id: str, seconds: float) -> float:
        """Return when the pause's message arrived (`time.perf_counter`)."""
        with self._changed:
            if not self._changed.wait_for(lambda: watch_id in self._arrived, seconds):
                raise BenchError(f"no webhook about {watch_id} within {seconds} s")
            return self._arrived[watch_id]

    def wait_for_all(self, number: int, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._arrived) >= number, seconds):
                raise BenchError(f"{len(self._arrived)} of {number} webhooks came within {seconds} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.close()
        self._thread.join()
        for sock in (*self._part, self._listener, self._stopped):
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopped:
                    return
                if key.fileobj is self._listener:
                    sock, _ = self._listener.accept()
                    self._part[sock] = b""
                    self._selector.register(sock, selectors.EVENT_READ)
                else:
                    self._read(key.fileobj)  # type: ignore[arg-type]

    def _read(self, sock: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(65_536)
        self._part[sock] += data
        if data and missing(self._part[sock]):
            return
        found = _WATCH_ID.search(self._part.pop(sock))
        if data and found is not None:
            with self._changed:
                self._arrived.setdefault(found[1].decode(), time.perf_counter())
                self._changed.notify_all()
            with contextlib.suppress(OSError):
                sock.sendall(_ANSWER)
        self._selector.unregister(sock)
        sock.close()
