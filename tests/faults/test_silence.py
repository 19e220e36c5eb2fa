"""Silent connections: from a peer that vanished, a browser that keeps a spare one, or an attacker."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from cli.devstack.ports import free_port
from cli.devstack.procfile import PROCFILE, read_procfile, shell_command
from tests.conftest import ROOT
from tests.faults.scene import until

# Threads that the process has, and connections that it serves at once: by the Procfile, for one stream and one poll.
THREADS, ALL = 101, 405
BEGUN = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 10\r\n\r\na"
)

SERVED = """
from werkzeug.wrappers import Request, Response
from werkzeug.exceptions import HTTPException
from app.http.slow_bodies import BodyWatch
def served(environ, start_response):
    try:
        return Response(Request(environ).get_data())(environ, start_response)
    except HTTPException as error:
        return error(environ, start_response)
app = BodyWatch(deadline=1.5).guard(served)
"""


@pytest.fixture(scope="module")
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the port of a web process that the Procfile's command starts. The parameter is milliseconds of silence."""
    port = free_port("127.0.0.1")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "SAGAHOLD_PORT": str(port),
        "SAGAHOLD_MAX_WAITERS": "1",
        "SAGAHOLD_MAX_STREAMS": "1",
        "GRANIAN_HTTP1_HEADER_READ_TIMEOUT": str(request.param),
    }
    command = shell_command(read_procfile(PROCFILE)["web"])
    web = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: answers(port))
        yield port
    finally:
        web.terminate()
        web.wait(90)


@pytest.mark.parametrize("port", [500], indirect=True)
def test_silent_connections_do_not_keep_the_server_for_ever(port: int) -> None:
    with ExitStack() as held:
        for _ in range(ALL):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        until("the others are served again", lambda: answers(port))


@pytest.mark.parametrize("port", [60_000], indirect=True)
def test_connections_that_are_kept_open_do_not_keep_others_out(port: int) -> None:
    """By clients that have had their answer and may ask again."""
    with ExitStack() as kept:
        for _ in range(THREADS + 1):
            client = kept.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=45))
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("port", [60_000], indirect=True)
@pytest.mark.parametrize("count", [32, THREADS + 1])
def test_bodies_that_stop_coming_do_not_keep_others_out(port: int, count: int) -> None:
    """Forms that need no session, such as sign-in."""
    with ExitStack() as held:
        strangers = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for stranger in strangers:
            stranger.sendall(BEGUN)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
            assert client.get("/healthz").status_code == 200
            # A form of ours that is too old, and no word of how many others there are.
            assert client.post("/sign-in", data={"email": "anne@example.com"}).status_code == 403
        strangers[0].settimeout(90)
        told = b"".join(iter(lambda: strangers[0].recv(10_000), b""))
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "REQUEST_TIMEOUT"' in told


@pytest.mark.parametrize("sent", [b"a", b"a" * 400_000], ids=["a byte", "most of it"])
def test_a_body_has_a_deadline(sent: bytes, tmp_path: Path) -> None:
    """Also when it is whole but for the last byte."""
    (tmp_path / "served.py").write_text(SERVED)
    port = free_port("127.0.0.1")
    command = ["granian", "--interface", "wsgi", "--http", "1", "--port", str(port), "--blocking-threads", "4"]
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    served = subprocess.Popen([*command, "served:app"], env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: answers(port))
        with ExitStack() as held:
            slow = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(4)]
            for one in slow:
                one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400001\r\n\r\n" + sent)
            until("no thread waits for them any more", lambda: answers(port))
            for one in slow:
                one.settimeout(90)
                assert b"".join(iter(lambda one=one: one.recv(10_000), b"")).startswith(b"HTTP/1.1 408 ")  # type: ignore[misc]
        done = httpx.post(f"http://127.0.0.1:{port}/", content=[b"a"] * 3, timeout=90)
        assert (done.status_code, done.text) == (200, "aaa")
    finally:
        served.terminate()
        served.wait(90)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
