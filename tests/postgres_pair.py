"""A primary and its standby with TLS, by Debian's PostgreSQL. The embedded one has no TLS."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from cli.devstack.ports import free_port
from cli.devstack.postgres import _as_other_user_than_root
from cli.devstack.waiting import wait_until
from tests.certificates import Certificates, certificates
from tests.conftest import answers
from tests.debian import program

USER = DATABASE = "sagahold"
ONLY_WITH_TLS = "hostssl all all 127.0.0.1/32 trust\nhostssl replication all 127.0.0.1/32 trust\n"


class PostgresPair:
    """`primary` and `standby` are URLs, until `switch_over`, after which only the standby's takes changes."""

    def __init__(self, folder: Path) -> None:
        self.tls: Certificates = certificates(folder)
        self._folder = folder
        self._binaries = program("initdb", "postgresql").resolve().parent
        owner, self._prefix = _as_other_user_than_root(folder / "none")
        if owner is not None:
            for path in (folder, self.tls.key):
                os.chown(path, *owner)
        self.tls.key.chmod(0o600)
        self._servers: list[subprocess.Popen[bytes]] = []
        primary, standby = (free_port("127.0.0.1") for _ in range(2))
        query = f"sslmode=verify-full&sslrootcert={self.tls.authority}"
        self.primary, self.standby = (
            f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}?{query}" for port in (primary, standby)
        )
        self._run("initdb", "-D", "primary", "-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        (folder / "primary" / "pg_hba.conf").write_text(ONLY_WITH_TLS)
        try:
            self._start("primary", primary, self.primary.replace(f"/{DATABASE}?", "/postgres?"))
            self.ask(self.primary.replace(f"/{DATABASE}?", "/postgres?"), f"CREATE DATABASE {DATABASE}")
            self._run(
                "pg_basebackup", "-D", "standby", "-d", self.primary, "-R", "-X", "stream", "-c", "fast", "--no-sync"
            )
            self._start("standby", standby, self.standby)
        except BaseException:
            self.close()
            raise

    def switch_over(self) -> None:
        """Make the primary read-only, wait until the standby has all, and make it the primary."""
        self.ask(self.primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        self.ask(self.primary, "SELECT pg_reload_conf()")
        assert wait_until(lambda: self.ask(self.primary, "SHOW default_transaction_read_only") == "on", 60)
        written = self.ask(self.primary, "SELECT pg_current_wal_lsn()")
        arrived = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
        assert wait_until(lambda: bool(self.ask(self.standby, arrived)), 60)

    def promote(self) -> None:
        self.ask(self.standby, "SELECT pg_promote()")

    def ask(self, url: str, statement: str) -> Any:
        """Execute the statement and return its only value, or None."""
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchone()[0] if cursor.description else None

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait(60)

    def _start(self, name: str, port: int, url: str) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": self.tls.certificate,
            "ssl_key_file": self.tls.key,
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (self._folder / f"{name}.log").open("w") as log:
            command = [*self._prefix, self._binaries / "postgres", "-D", self._folder / name, *options]
            self._servers.append(subprocess.Popen(command, stdout=log, stderr=log))
        assert wait_until(lambda: answers(url), 60), (self._folder / f"{name}.log").read_text()

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._prefix, self._binaries / name, *arguments]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def postgres_pair(folder: Path) -> Iterator[PostgresPair]:
    started = PostgresPair(folder)
    try:
        yield started
    finally:
        started.close()
        # Its files belong to another user than the rest of the test's.
        for name in ("primary", "standby"):
            shutil.rmtree(folder / name)
