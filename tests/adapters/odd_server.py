"""Starts and stops `mcp_servers/odd.py` for a test, by any transport."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from domain.manifests.definition import ToolSource, Transport

SERVER = Path(__file__).parent / "mcp_servers" / "odd.py"


class Odd:
    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._started = folder / "started"
        self._called = folder / "called"
        self._process: subprocess.Popen[bytes] | None = None
        notes = {"STARTED": str(self._started), "CALLED": str(self._called)}
        if kind == "stdio":
            self._command: list[str] = []
            args = (str(SERVER), "stdio")
            self.source = ToolSource("odd", Transport.STDIO, command=sys.executable, args=args, env=notes)
            return
        self._port = free_port()
        transport, *options = kind.split("-")
        self._command = [sys.executable, str(SERVER), transport, str(self._port), *options]
        self._environment = {**os.environ, **notes}
        path, kind_of = ("sse", Transport.SSE) if kind == "sse" else ("mcp", Transport.STREAMABLE_HTTP)
        self.source = ToolSource("odd", kind_of, url=f"http://127.0.0.1:{self._port}/{path}")
        self._start()

    def with_(self, **changes: Any) -> ToolSource:
        return replace(self.source, **changes)

    def pids(self) -> list[int]:
        return [int(line) for line in lines(self._started)]

    def started(self) -> int:
        return len(self.pids())

    def called(self) -> list[str]:
        return lines(self._called)

    def kill(self) -> None:
        """By force, and until it is gone."""
        pid = self.pids()[-1]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(90)
        else:
            eventually(lambda: not alive(pid))

    def restart(self) -> None:
        """After it has ended. A stdio server is started by the client."""
        if self._process is not None:
            self._process.wait(90)
            self._start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(90)

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)
        eventually(lambda: answers(self._port))


@contextlib.contextmanager
def odd_servers(kind: str, folder: Path) -> Iterator[Odd]:
    server = Odd(kind, folder)
    try:
        yield server
    finally:
        server.stop()


def eventually(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Running, and not merely unburied. The first thread may be dead while another still holds the files open."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
