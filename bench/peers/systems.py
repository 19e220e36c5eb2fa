"""The measured systems, each with the requests of the cycle and the processes whose CPU counts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg2

from bench.peers.clients import Event, Events
from bench.peers.environments import Environments
from bench.subject import ACTION, CONTEXT_DOCUMENT, NAMESPACE, Subject
from bench.wire import BenchError, Connection, Server
from cli.devstack import Stack
from cli.devstack.child import Reaper
from cli.devstack.ports import free_port
from cli.devstack.waiting import wait_until

START_SECONDS = 90.0
STOP_SECONDS = 10.0
# As in bench.sagas: short beside the figures, long enough to add no load. Seconds.
LOOK_EVERY = 0.003
ENVIRON = {"DATABASE_URL": "", "REDIS_URL": "", "SAGAHOLD_EGRESS_ALLOW": "127.0.0.0/8"}
APPS = Path(__file__).parent / "apps"
# Cycle shapes: one held step, or three of which the second is held.
ONE, THREE = "one", "three"


class System(Protocol):
    """A system, as far as the cycle needs to know it. It runs inside `with`."""

    name: str
    server: Server
    told: Events

    def start(self, shape: str, token: str) -> bytes: ...
    def started(self, token: str, body: bytes) -> None: ...
    def decision(self, event: Event) -> bytes: ...
    def events(self) -> list[Event]: ...
    def pause(self, token: str) -> bytes: ...
    def held_pauses(self, number: int) -> list[Event] | None: ...
    def pids(self) -> Mapping[str, list[int]]: ...
    def kill_and_restart(self) -> None: ...
    def __enter__(self) -> "System": ...
    def __exit__(self, *_: object) -> None: ...


class Ours:
    """The product as `sagahold up` runs it: one web process, one worker, one beat."""

    name = "Sagahold"

    def __init__(self, folder: Path, _: Environments, events: Events) -> None:
        self._folder, self.told = folder, events
        self._running: dict[str, str] = {}
        self._told: set[int] = set()
        self._looked = 0.0

    def __enter__(self) -> "Ours":
        with ExitStack() as undo:
            self.stack = undo.enter_context(Stack(self._folder, environ=ENVIRON))
            self.subject = undo.enter_context(closing(Subject(self.stack)))
            self.server = self.subject.server
            self._database = undo.enter_context(closing(psycopg2.connect(self.stack.database_url)))
            self._database.autocommit = True
            self._deploy()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def start(self, shape: str, token: str) -> bytes:
        inputs = {
            "act": f"act {token}",
            "resumed": f"resumed {token}",
            "done": f"done {token}",
            "context": CONTEXT_DOCUMENT,
        }
        wanted = {"namespace": NAMESPACE, "name": shape, "version": "1", "input": inputs}
        return self.server.request("POST", "/v1/sagas/start", self.subject.agent, wanted)

    def started(self, token: str, body: bytes) -> None:
        self._running[json.loads(body)["trace_id"]] = token

    def decision(self, event: Event) -> bytes:
        if "/" not in event.extra:
            return self.subject.approval(event.extra)
        trace, span = event.extra.split("/")
        return self.server.request("POST", f"/v1/sagas/{trace}/steps/{span}/approve", self.subject.reviewer, {})

    def events(self) -> list[Event]:
        """Return what the tool tells, and the steps that are held: nothing of ours tells the bench of them."""
        found = self.told.read()
        now = time.monotonic()
        if self._running and now - self._looked >= LOOK_EVERY:
            self._looked = now
            found += self._held(now)
        return found

    def pause(self, token: str) -> bytes:
        return next(self.subject.creations())

    def held_pauses(self, number: int) -> list[Event]:
        return [Event("held", id_, 0.0, id_) for id_ in self.subject.park(number)]

    def pids(self) -> Mapping[str, list[int]]:
        kinds = {"web": ("web",), "worker": ("worker",), "database": ("postgres",), "other": ("beat", "redis")}
        return {group: [pid for kind in of for pid in self.stack.pids(kind)] for group, of in kinds.items()}

    def kill_and_restart(self) -> None:
        names = [name for name in self.stack.names() if name not in ("postgres", "redis")]
        for name in names:
            self.stack.stop_process(name, within=0)
        for name in names:
            self.stack.start_process(name)
        _await_answer(self.server, "/readyz", self.name)

    def _held(self, now: float) -> list[Event]:
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT saga_id, span_id FROM saga_steps WHERE saga_id = ANY(%s::uuid[]) AND status = 'AWAITING_HUMAN'",
                (list(self._running),),
            )
            rows = [(saga.replace("-", ""), span) for saga, span in cursor.fetchall()]
        return [Event("held", self._running.pop(saga), now, f"{saga}/{span:016x}") for saga, span in rows]

    def _deploy(self) -> None:
        source = {
            "name": "bench",
            "transport": "stdio",
            "command": sys.executable,
            "args": [str(Path(__file__).parents[1] / "tool_server.py")],
            "env": {"BENCH_PORT": str(self.told.port)},
        }
        common = {"namespace": NAMESPACE, "version": "1"}
        shapes = {ONE: ["resumed"], THREE: ["act", "resumed", "done"]}
        manifests = [{"kind": "worker", "name": "bench", "provider": "mock", "tool_sources": [source], **common}]
        for shape, kinds in shapes.items():
            steps = [_step(kind) for kind in kinds]
            manifests.append({"kind": "saga", "name": shape, "steps": steps, **common})
        with closing(Connection(self.server)) as connection:
            for manifest in manifests:
                key = self.stack.credentials["admin_key"]
                connection.call(self.server.request("POST", "/v1/manifests", key, manifest))


def _step(kind: str) -> dict[str, Any]:
    return {
        "id": kind,
        "kind": "commit",
        "worker": "bench",
        "worker_version": "1",
        "hitl": kind == "resumed",
        # The tool sends its token on: its first word is the kind of the event.
        "with": {"token": {"from": f"$.input.{kind}"}},
        "tools": {"allow": ["act"]},
    }


class _Peer:
    """A peer with processes of its own, which are ended by their ids, and our embedded PostgreSQL."""

    name: str
    peer: str
    application: str

    def __init__(self, folder: Path, environments: Environments, events: Events) -> None:
        self._folder, self._environments, self.told = folder, environments, events
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = free_port("127.0.0.1")
        self.server = Server(f"http://127.0.0.1:{self._port}")

    def __enter__(self) -> "_Peer":
        with ExitStack() as undo:
            self._environments.install(self.peer)
            self._enter(undo)
            # It ends the peer's processes even if this one is killed.
            self._reaper = Reaper()
            undo.callback(self._reaper.close)
            undo.callback(self._end, signal.SIGTERM)
            self._run()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _enter(self, undo: ExitStack) -> None:
        self._stack = undo.enter_context(Stack(self._folder, processes=False, environ=ENVIRON))

    def _run(self) -> None:
        arguments = ("--port", str(self._port), "--log-level", "warning", "--no-access-log", "--workers", "1")
        uvicorn = str(self._environments.program(self.peer, "uvicorn"))
        self._spawn("app", uvicorn, f"{self.application}:app", *arguments)
        _await_answer(self.server, "/", self.name)

    def started(self, token: str, body: bytes) -> None:
        """Nothing: the application itself tells of the held step."""

    def start(self, shape: str, token: str) -> bytes:
        return self._post(f"/{shape}", {"token": token, "action": ACTION, "context": CONTEXT_DOCUMENT})

    def decision(self, event: Event) -> bytes:
        shape = event.extra if event.extra != "-" else ONE
        return self._post("/decide", {"token": event.token, "shape": shape})

    def events(self) -> list[Event]:
        return self.told.read()

    def pause(self, token: str) -> bytes:
        return self.start(ONE, token)

    def held_pauses(self, number: int) -> None:
        """None: the bench decides those that it created."""

    def pids(self) -> Mapping[str, list[int]]:
        groups = {name: [process.pid] for name, process in self._processes.items()}
        return groups | {"database": self._stack.pids("postgres")}

    def kill_and_restart(self) -> None:
        self._end(signal.SIGKILL)
        self._run()

    def _post(self, path: str, document: Any) -> bytes:
        return self.server.request("POST", path, None, document)

    def _spawn(self, name: str, *command: str) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environ |= {"BENCH_PORT": str(self.told.port), "RUST_LOG": "warn", **self._addresses()}
        log = self._folder / f"{name}.log"
        with log.open("ab") as file:
            self._processes[name] = subprocess.Popen(
                command, cwd=APPS, env=environ, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._reaper.watch(self._processes[name].pid, signal.SIGTERM)

    def _addresses(self) -> dict[str, str]:
        return {"DATABASE_URL": self._stack.database_url}

    def _end(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            self._reaper.forget(process.pid)
            process.wait(STOP_SECONDS)


class LangGraph(_Peer):
    """One uvicorn process. The decision is the resume, so no decision is recorded apart from it."""

    name, peer, application = "LangGraph", "langgraph", "langgraph_app"


class Dbos(_Peer):
    name, peer, application = "DBOS", "dbos", "dbos_app"


class Restate(_Peer):
    """The Rust server with its own log (fsync on, as it comes), and one process of the Python SDK."""

    name, peer, application = "Restate", "restate", "restate_app"

    def _enter(self, undo: ExitStack) -> None:
        self._admin, self._service, self._node = (free_port("127.0.0.1") for _ in range(3))

    def _run(self) -> None:
        settings = self._folder / "restate.toml"
        settings.write_text(
            'disable-telemetry = true\nlisten-mode = "tcp"\nbind-ip = "127.0.0.1"\nadvertised-host = "127.0.0.1"\n'
            f'bind-port = {self._node}\nnode-name = "bench"\nbase-dir = "{self._folder / "restate"}"\n'
            f"[ingress]\nbind-port = {self._port}\n[admin]\nbind-port = {self._admin}\n"
        )
        self._spawn("server", str(self._environments.restate_server()), "-c", str(settings), "--no-logo")
        granian = str(self._environments.program(self.peer, "granian"))
        options = ("--interface", "asgi", "--http", "2", "--host", "127.0.0.1", "--workers", "1")
        self._spawn("app", granian, *options, "--port", str(self._service), f"{self.application}:app")
        admin = Server(f"http://127.0.0.1:{self._admin}")
        _await_answer(admin, "/health", self.name)
        _await_answer(self.server, "/restate/health", self.name)
        # The service may be up later than the server.
        deployment = admin.request(
            "POST", "/deployments", None, {"uri": f"http://127.0.0.1:{self._service}", "force": True}
        )
        if not wait_until(lambda: _succeeds(admin, deployment), START_SECONDS, pause=0.5):
            raise BenchError(f"Restate does not take the service; see {self._folder}")

    def start(self, shape: str, token: str) -> bytes:
        return self._post(f"/Cycle/{shape}/send", {"token": token, "action": ACTION, "context": CONTEXT_DOCUMENT})

    def decision(self, event: Event) -> bytes:
        return self._post(f"/restate/awakeables/{event.extra}/resolve", "approve")

    def pids(self) -> Mapping[str, list[int]]:
        # Its server is its database too.
        named = {"app": "app", "server": "database"}
        return {named[name]: [process.pid] for name, process in self._processes.items()}

    def _addresses(self) -> dict[str, str]:
        return {}


def _await_answer(server: Server, path: str, name: str) -> None:
    if not wait_until(lambda: _succeeds(server, server.request("GET", path)), START_SECONDS):
        raise BenchError(f"{name} does not answer at {server.url}{path}")


def _succeeds(server: Server, request: bytes) -> bool:
    try:
        with closing(Connection(server)) as connection:
            connection.call(request)
    except (OSError, BenchError):
        return False
    return True


SYSTEMS: dict[str, Callable[[Path, Environments, Events], Any]] = {
    "sagahold": Ours,
    "restate": Restate,
    "langgraph": LangGraph,
    "dbos": Dbos,
}


def tokens(prefix: str) -> Iterator[str]:
    """Yield tokens that no other run of this process has used."""
    global _last
    while True:
        _last += 1
        yield f"{prefix}{os.getpid()}-{_last}"


_last = 0
