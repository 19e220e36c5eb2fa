"""How many requests a web process holds, for whom beyond that, and with what: processes of their own."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import httpx
import pytest

from app.dashboard.framework.cookies import SESSION
from app.http.long_poll import EXTRA_EACH
from cli.devstack import Stack
from cli.devstack.ports import free_port
from cli.devstack.procfile import PROCFILE, read_procfile, shell_command
from services.kernel.unit_of_work import Database
from tests.api.conftest import Team, until
from tests.browser.people import add_person
from tests.conftest import ROOT

ROOM = 100
BEYOND = ROOM // 10
# The threads of a process with room for one stream.
THREADS = 101


@dataclass
class Server:
    """The web process, the connections that it holds, and what an operator sees of them."""

    port: int
    operator: httpx.Client
    open_: ExitStack
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, header: str) -> socket.socket:
        client = self.open_.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=90))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n".encode())
        return client

    def ask_and_wait(self, path: str, header: str, total: int, count: int = 1) -> None:
        """So many more requests, all of which are held: then there are `total`."""
        # A stream that has just ended still counts for a moment, and would stand for one that is not open yet.
        until(lambda: self.held == total - count, 90)
        for _ in range(count):
            self.ask(path, header)
        until(lambda: self.held == total, 90)

    @property
    def held(self) -> float:
        return self.metric("sagahold_long_polls")

    def metric(self, series: str) -> float:
        return value_of(series, self.operator.get("/metrics").text)


def value_of(series: str, metrics: str) -> float:
    found = re.search(f"^{re.escape(series)} (\\S+)$", metrics, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


@contextmanager
def serving(stack: Stack, **limits: str) -> Iterator[Server]:
    port = free_port("127.0.0.1")
    environ = {"SAGAHOLD_PORT": str(port), "SAGAHOLD_PROCESS": "narrow", **limits}
    command = shell_command(read_procfile(PROCFILE)["web"])
    headers = {"Authorization": f"Bearer {stack.credentials['operator_key']}"}
    with NamedTemporaryFile(prefix="granian-") as log:
        web = subprocess.Popen(command, cwd=ROOT, env={**stack.environ, **environ}, stdout=log, stderr=log)
        try:
            with ExitStack() as open_, httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as operator:
                until(lambda: answers(operator), 120)
                yield Server(port, operator, open_, web, Path(log.name))
        finally:
            web.terminate()
            web.wait(90)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def whole(answer: socket.socket) -> str:
    return b"".join(iter(lambda: answer.recv(10_000), b"")).decode()


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Server]:
    with serving(stack, SAGAHOLD_MAX_WAITERS=str(ROOM)) as server:
        yield server


def test_a_key_that_is_revoked_during_a_wait_learns_nothing(server: Server, team: Team) -> None:
    new = {"name": "brief", "role": "agent", "namespaces": [team.namespace]}
    made = team.admin.post("/v1/keys", json=new).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as client:
        watch_id = client.post("/api/pause", json={"action": "x"}).json()["watchId"]
        poll = server.ask(f"/api/pause/{watch_id}?wait=60", f"Authorization: Bearer {made['key']}")
        until(lambda: server.held == 1)
        assert team.admin.post(f"/v1/keys/{made['id']}/revoke").status_code == 200
        until(lambda: client.get("/api/pause").status_code == 401)
        assert team.reviewer.post(f"/api/pause/{watch_id}/approve").status_code == 200
        assert whole(poll).startswith("HTTP/1.1 401 ")
        until(lambda: server.held == 0)


def test_one_key_with_all_the_places_keeps_nobody_out(server: Server, team: Team, stack_database: Database) -> None:
    """A tenth more is for those who hold fewer than eight: another key, and a person with the inbox open."""
    watch_id = team.pause()["watchId"]
    greedy = f"Authorization: {team.agent.headers['Authorization']}"
    new = {"name": "another", "role": "agent", "namespaces": [team.namespace]}
    modest = f"Authorization: Bearer {team.admin.post('/v1/keys', json=new).json()['key']}"
    with httpx.Client(base_url=team.agent.base_url, headers=[tuple(modest.split(": "))]) as client:  # type: ignore[list-item]
        brief_id, other_id = (client.post("/api/pause", json={"action": "x"}).json()["watchId"] for _ in range(2))
    person = f"Cookie: {SESSION}={add_person(stack_database, 'reviewer', namespaces=[team.namespace]).token}"

    # Streams: they stay longer than all of this takes on a slow machine.
    server.ask_and_wait(f"/api/pause/{watch_id}/events", greedy, ROOM, ROOM)
    # Held beyond these, until its pause is decided.
    polls = [server.ask(f"/api/pause{path}wait=60", modest) for path in (f"/{brief_id}?", f"?ids={brief_id}&")]
    until(lambda: server.held == ROOM + 2, 90)
    assert team.reviewer.post(f"/api/pause/{brief_id}/approve").status_code == 200
    for told in map(whole, polls):
        assert '"status":"approved"' in told.replace(": ", ":")
        assert "retry-after" not in told.lower()
    until(lambda: server.held == ROOM)
    for path in (f"/api/pause/{watch_id}?wait=60", f"/api/pause?ids={watch_id}&wait=60"):
        told = whole(server.ask(path, greedy))
        assert told.startswith("HTTP/1.1 200 ")
        assert "retry-after: 2\r\n" in told.lower()
    streamed = whole(server.ask(f"/api/pause/{watch_id}/events", greedy))
    assert "event: pause.created" in streamed

    path = f"/api/pause/{other_id}"
    server.ask_and_wait(f"{path}/events", modest, ROOM + EXTRA_EACH, EXTRA_EACH)
    assert "retry-after: 2\r\n" in whole(server.ask(f"{path}?wait=60", modest)).lower()
    assert "event: pause.created" in whole(server.ask(f"{path}/events", modest))

    server.ask_and_wait("/inbox/events", person, ROOM + BEYOND, BEYOND - EXTRA_EACH)
    assert "event: reviews" in whole(server.ask("/inbox/events", person))
    assert server.held == ROOM + BEYOND
    # Long polls that already wait still get their response.
    assert team.reviewer.post(f"/api/pause/{other_id}/approve").status_code == 200
    until(lambda: server.held == ROOM + BEYOND - EXTRA_EACH)


def test_long_polls_hold_no_threads(stack: Stack, team: Team) -> None:
    """Twice as many as the process has threads: others are served, and all are answered, also when it stops."""
    many = 2 * THREADS
    agent = f"Authorization: {team.agent.headers['Authorization']}"
    decided, open_ = (team.pause()["watchId"] for _ in range(2))
    answered = 'sagahold_http_requests_total{method="GET",route="/api/pause/<watch:watch_id>",status="200"}'
    # Granian's own log, which has one line for each response and none for a request that is parked.
    access = {"GRANIAN_LOG_ACCESS_ENABLED": "true", "GRANIAN_LOG_ACCESS_FMT": "granted %(path)s %(status)d"}
    with serving(stack, SAGAHOLD_MAX_STREAMS="1", **access) as server:
        polls = [server.ask(f"/api/pause/{decided}?wait=60", agent) for _ in range(many)]
        until(lambda: server.held == many, 90)
        assert server.metric(answered) == 0
        assert team.reviewer.post(f"/api/pause/{decided}/approve").status_code == 200
        for told in map(whole, polls):
            assert told.startswith("HTTP/1.1 200 ")
            assert '"status":"approved"' in told
            assert told.lower().count("trace-id: ") == 1
        until(lambda: server.held == 0)
        assert server.metric(answered) == many
        until(lambda: server.log.read_text().count(f"granted /api/pause/{decided} 200") == many)
        assert f"{decided} 500" not in server.log.read_text()

        streamed = server.ask(f"/api/pause/{open_}/events", agent)
        until(lambda: server.held == 1)
        polls = [server.ask(f"/api/pause/{open_}?wait=60", agent) for _ in range(many)]
        until(lambda: server.held == many + 1, 90)
        # The one place of a stream is taken, and this key has more than eight waits.
        assert "event: pause.created" in whole(server.ask(f"/api/pause/{open_}/events", agent))
        server.process.terminate()
        for told in map(whole, polls):
            assert '"status":"pending"' in told
        assert "event: pause.created" in whole(streamed)
