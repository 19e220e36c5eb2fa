"""An embedded stack: PostgreSQL, Redis and the Procfile's processes, as a context manager."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import settings
from cli.devstack.child import Program
from cli.devstack.datadir import DataDir
from cli.devstack.errors import NotReadyError, StackError
from cli.devstack.external_servers import refuse_absent_database, refuse_absent_redis, refuse_held_database
from cli.devstack.first_keys import first_keys, sign_in_link
from cli.devstack.ports import free_port, refuse_port_in_use
from cli.devstack.postgres import PostgresServer
from cli.devstack.procfile import PROCFILE, read_procfile, shell_command
from cli.devstack.readiness import PAUSE_SECONDS as READY_PAUSE_SECONDS
from cli.devstack.readiness import ReadinessProbe
from cli.devstack.redis import RedisServer
from cli.devstack.supervisor import Supervisor
from cli.devstack.waiting import wait_until
from domain.values.network import reached

# initdb writes 40 MB with fsync; a crashed server first replays its log; migrations may meet much data.
SERVER_SECONDS = 120.0
RELEASE_SECONDS = 600.0
READY_SECONDS = 120.0
# Everything ends within 15 s: the parts below and a moment between them.
FRONT_STOP_SECONDS = 4.0
WORKER_STOP_SECONDS = 6.0
SERVER_STOP_SECONDS = 3.0

RELEASE = "release"
WORKER = "worker"
ROLES = ("agent", "reviewer", "operator", "admin")


class Stack:
    """A stack that is ready inside `with Stack(folder) as stack:` and leaves nothing running after it.

    `environ` overrides this process's environment. A `DATABASE_URL` or `REDIS_URL` in either replaces our own server.
    `port` 0 takes a free port, None the environment's. With `processes=False` only the servers run. `say` receives
    one-line messages. Every wait of the start calls `cancelled`.

    Raises `StackError` if it cannot start, `NotReadyError` if a started program does not become ready.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int | None = 0,
        workers: int = 1,
        processes: bool = True,
        environ: Mapping[str, str] | None = None,
        procfile: Path = PROCFILE,
        say: Callable[[str], None] = lambda line: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data = DataDir(Path(data_dir))
        self.environ = {**os.environ, **(environ or {})}
        self.credentials: dict[str, str] = {}
        self._port = port
        self._workers = workers
        self._processes = processes
        self._procfile = procfile
        self._say = say
        self._cancelled = cancelled
        self._servers: dict[str, PostgresServer | RedisServer] = {}
        self._programs: dict[str, Program] = {}

    def __enter__(self) -> "Stack":
        try:
            with ExitStack() as undo:
                self.data.open()
                undo.callback(self.data.close)
                self._prepare()
                self._supervisor = Supervisor(self.data.lock_fd, self._say)
                undo.callback(self._supervisor.close)
                undo.callback(self._stop)
                self._start()
                self._undo = undo.pop_all()
        except OSError as error:
            raise StackError(f"cannot start: {error}; the data directory is {self.data.path}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    @property
    def url(self) -> str:
        """Return the URL of the web process on this machine."""
        host = reached(self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def database_url(self) -> str:
        return self.environ["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return self.environ["REDIS_URL"]

    def sign_in_link(self) -> str | None:
        """Return a new link that signs the owner in once, or None if no admin is left."""
        return sign_in_link(self.settings, self.environ["SAGAHOLD_PUBLIC_URL"])

    def names(self, kind: str | None = None) -> list[str]:
        """Return the running programs: `postgres`, `redis`, `web`, `worker`, `worker-2`, `beat` …"""
        return self._supervisor.names(kind)

    def pid(self, name: str) -> int | None:
        """Return the program's pid, or None between its death and its restart."""
        return self._supervisor.pid(name)

    def pids(self, kind: str) -> list[int]:
        return [pid for pid in map(self.pid, self.names(kind)) if pid is not None]

    def log(self, name: str) -> Path:
        return self._programs[name].log

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process. If it dies, the supervisor restarts it."""
        self._supervisor.kill(name, number)

    def add(self, kind: str) -> str:
        """Start one more process of this kind and return its name."""
        taken = [program.name for program in self._programs.values() if program.kind == kind]
        name = f"{kind}-{len(taken) + 1}" if taken else kind
        self._programs[name] = self._program(name, kind)
        self.start_process(name)
        return name

    def stop_process(self, name: str, within: float = WORKER_STOP_SECONDS) -> None:
        """Stop the process until `start_process`; kill it after `within` seconds (0: at once)."""
        self._supervisor.stop([name], within)

    def start_process(self, name: str) -> None:
        """Start the process. A server answers when this returns."""
        self._supervisor.start(self._programs[name])
        if name in self._servers:
            self._await_server(name)

    def _prepare(self) -> None:
        """Check the settings, servers and port before anything starts."""
        environ = self.environ
        environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", os.defpath)))
        if self._port is not None:
            host = environ.get("SAGAHOLD_HOST") or "127.0.0.1"
            environ["SAGAHOLD_PORT"] = str(self._port or free_port(host))
        plain = dict(environ)
        if not environ.get("DATABASE_URL"):
            postgres = PostgresServer(self.data, plain)
            self._servers[postgres.name] = postgres
            environ["DATABASE_URL"] = postgres.url
        if not environ.get("REDIS_URL"):
            redis = RedisServer(self.data, plain)
            self._servers[redis.name] = redis
            environ["REDIS_URL"] = redis.url
        try:
            self.settings = settings.load(environ)
        except settings.SettingsError as error:
            raise StackError(str(error)) from None
        # Links must have a reachable host, even if the server listens on every address.
        environ["SAGAHOLD_RUN_DIR"] = environ.get("SAGAHOLD_RUN_DIR") or str(self.data.path / "run")
        environ["SAGAHOLD_PUBLIC_URL"] = environ.get("SAGAHOLD_PUBLIC_URL") or self.url
        if self._processes:
            self._commands = read_procfile(self._procfile)
            refuse_port_in_use(self.settings.host, self.settings.port)
            if PostgresServer.name not in self._servers:
                refuse_absent_database(self.settings.database_url)
            if RedisServer.name not in self._servers:
                refuse_absent_redis(self.settings.redis_url)

    def _start(self) -> None:
        self._start_servers()
        if not self._processes:
            return
        refuse_held_database(self.settings.database_url)
        if RELEASE in self._commands:
            self._programs[RELEASE] = self._program(RELEASE, RELEASE)
            self._supervisor.run(self._programs[RELEASE], RELEASE_SECONDS, self._cancelled)
        self._write_credentials()
        for kind in self._commands:
            for _ in range(self._workers if kind == WORKER else kind != RELEASE):
                self.add(kind)
        self._await_ready()

    def _start_servers(self) -> None:
        for name, server in self._servers.items():
            if isinstance(server, PostgresServer):
                server.clean()
                initialisation = server.initialisation()
                if initialisation is not None:
                    self._supervisor.run(initialisation, SERVER_SECONDS, self._cancelled)
                    server.initialised()
            self._programs[name] = server.program()
            self._supervisor.start(self._programs[name])
        for name in self._servers:
            self._await_server(name)

    def _await_server(self, name: str) -> None:
        if not wait_until(self._servers[name].ready, SERVER_SECONDS, self._cancelled):
            lines = self._programs[name].last_lines()
            raise NotReadyError(f"{name} does not answer; its log is {self.log(name)}", lines)

    def _write_credentials(self) -> None:
        existing = self.data.read_credentials()
        known = {role: existing[f"{role}_key"] for role in ROLES if f"{role}_key" in existing}
        keys = first_keys(self.settings, known)
        self.credentials = {"url": self.url, **{f"{role}_key": keys[role] for role in ROLES}}
        self.data.write_credentials(self.credentials)

    def _await_ready(self) -> None:
        readiness = ReadinessProbe(self.url)
        if wait_until(readiness.look, READY_SECONDS, self._cancelled, pause=READY_PAUSE_SECONDS):
            return
        witness = self._programs.get(readiness.witness) or self._programs["web"]
        raise NotReadyError(
            f"not ready after {READY_SECONDS:.0f} s: {readiness.missing}; the log of {witness.name} is {witness.log}",
            witness.last_lines(),
        )

    def _program(self, name: str, kind: str) -> Program:
        return Program(
            name=name,
            kind=kind,
            command=shell_command(self._commands[kind]),
            environ={**self.environ, "SAGAHOLD_PROCESS": name},
            cwd=self._procfile.parent,
            log=self.data.logs / f"{name}.log",
        )

    def _stop(self) -> None:
        """Stop the programs that accept work, then the workers, then the servers."""
        supervisor = self._supervisor
        servers = [name for name in supervisor.names() if name in self._servers]
        workers = supervisor.names(WORKER)
        front = [name for name in supervisor.names() if name not in (*servers, *workers)]
        supervisor.stop(front, FRONT_STOP_SECONDS)
        supervisor.stop(workers, WORKER_STOP_SECONDS)
        supervisor.stop(servers, SERVER_STOP_SECONDS)
