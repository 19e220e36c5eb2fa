"""PgBouncer in front of a test's PostgreSQL."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2.extensions import parse_dsn

from cli.devstack.ports import free_port
from cli.devstack.postgres import _as_other_user_than_root
from cli.devstack.waiting import wait_until
from tests.conftest import answers
from tests.debian import program


class PgBouncer:
    """`url` leads through it to the database of `database_url`."""

    def __init__(self, folder: Path, database_url: str, **options: object) -> None:
        found = parse_dsn(database_url)
        self._port = free_port("127.0.0.1")
        self.url = f"postgresql://{found['user']}@127.0.0.1:{self._port}/{found['dbname']}"
        # As root it does not run, as PostgreSQL does not.
        _, self._prefix = _as_other_user_than_root(folder / "none")
        self._config, self._log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
        to = f"host={found['host']} port={found['port']} user={found['user']}"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": 10,
            "max_client_conn": 500,
        } | options
        lines = [f"{name} = {value}" for name, value in settings.items()]
        self._config.write_text("\n".join(["[databases]", f"* = {to}", "[pgbouncer]", *lines, ""]))
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            command = (*self._prefix, program("pgbouncer", "pgbouncer"), self._config)
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        assert wait_until(lambda: answers(self.url), 60), self._log.read_text()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(how)
        self._process.wait(60)


@contextmanager
def pgbouncer(folder: Path, database_url: str, **options: object) -> Iterator[PgBouncer]:
    started = PgBouncer(folder, database_url, **options)
    try:
        yield started
    finally:
        started.stop()
