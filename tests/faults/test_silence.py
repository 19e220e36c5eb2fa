"""Connections on which nothing comes: a peer that vanished, a browser's spare one, somebody who means ill."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from cli.stack.procfile import PROCFILE, read_procfile, shell_command
from tests.conftest import ROOT
from tests.faults.scene import until

# Threads that the process has, and connections that it serves at once, as the Procfile has it for one waiter.
THREADS, ALL = 101, 404
BEGUN = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 10\r\n\r\na"
)


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a web process by itself, started by its line in the Procfile. The parameter: milliseconds of silence."""
    port = free_port("127.0.0.1")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "SAGAHOLD_PORT": str(port),
        "SAGAHOLD_MAX_WAITERS": "1",
        "GRANIAN_HTTP1_HEADER_READ_TIMEOUT": str(request.param),
    }
    command = shell_command(read_procfile(PROCFILE)["web"])
    web = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: answers(port))
        yield port
    finally:
        web.terminate()
        web.wait(30)


@pytest.mark.parametrize("port", [500], indirect=True)
def test_silent_connections_do_not_keep_the_server_for_ever(port: int) -> None:
    with ExitStack() as held:
        for _ in range(ALL):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        until("the others are served again", lambda: answers(port))


@pytest.mark.parametrize("port", [30_000], indirect=True)
def test_connections_that_are_kept_open_do_not_keep_others_out(port: int) -> None:
    """By clients that have had their answer and may ask again."""
    with ExitStack() as kept:
        for _ in range(THREADS + 1):
            client = kept.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15))
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("port", [30_000], indirect=True)
def test_bodies_that_stop_coming_do_not_keep_others_out(port: int) -> None:
    """Of forms that anybody may send, as those who sign in do."""
    with ExitStack() as held:
        for _ in range(THREADS + 1):
            stranger = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.sendall(BEGUN)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
            assert client.get("/healthz").status_code == 200
            refused = client.post("/sign-in", data={"email": "anne@example.com"})
            assert (refused.status_code, "Too many people" in refused.text) == (503, True)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
