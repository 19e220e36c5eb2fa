"""Connections on which nothing comes: a peer that vanished, a browser's spare one, somebody who means ill."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from cli.stack.ports import free_port
from cli.stack.procfile import PROCFILE, read_procfile, shell_command
from tests.conftest import ROOT
from tests.faults.scene import until

# Connections that the process serves at once, as the Procfile has it for one waiter.
ALL = 101


@pytest.fixture
def port() -> Iterator[int]:
    """Of a web process by itself, started by its line in the Procfile."""
    port = free_port("127.0.0.1")
    environ = {
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "SAGAHOLD_PORT": str(port),
        "SAGAHOLD_MAX_WAITERS": "1",
        # Half a minute without it.
        "GRANIAN_HTTP1_HEADER_READ_TIMEOUT": "500",
    }
    command = shell_command(read_procfile(PROCFILE)["web"])
    web = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: answers(port))
        yield port
    finally:
        web.terminate()
        web.wait(30)


def test_silent_connections_do_not_keep_the_server_for_ever(port: int) -> None:
    with ExitStack() as held:
        for _ in range(ALL):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        until("the others are served again", lambda: answers(port))


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
