"""A fail-over to a real standby: who is connected to a server that takes no changes soon finds the one that does."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.devstack import Stack
from cli.devstack.postgres import MAX_CONNECTIONS, PORT, USER, PostgresServer
from cli.devstack.waiting import wait_until
from services.kernel import connection_pool
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.leases import stamp_worker
from services.kernel.unit_of_work import Database
from services.operations.health import readiness
from tests.conftest import Recorded, answers
from tests.services.world import one


@pytest.fixture
def standby(servers: Stack, database: Database) -> Iterator[Path]:
    """The folder of the socket of a standby, a copy of all that `database` has written before."""
    primary = PostgresServer(servers.data, os.environ)
    bin_, prefix = primary.binaries, primary._prefix
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        # Where the tests run as root, the server does not.
        place.chmod(0o777)
        copying = [bin_ / "pg_basebackup", "-D", place / "pg", "-h", servers.data.sockets, "-p", str(PORT), "-U", USER]
        subprocess.run([*prefix, *copying, "-X", "stream", "-R", "-c", "fast", "--no-sync"], check=True)
        settings = {"unix_socket_directories": name, "listen_addresses": "", "port": PORT}
        settings |= {"max_connections": MAX_CONNECTIONS, "fsync": "off"}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (place / "log").open("w") as log:
            server = subprocess.Popen([*prefix, bin_ / "postgres", "-D", place / "pg", *options], stderr=log)
        try:
            url = f"postgresql://{USER}@/postgres?host={name}&port={PORT}"
            assert wait_until(lambda: answers(url), 120), (place / "log").read_text()
            yield place
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(90)


def _takes_three(database: Database) -> bool:
    """Whether three connections at once take changes."""
    try:
        with database.transaction() as first, database.transaction() as second, database.transaction() as third:
            for number, uow in enumerate((first, second, third)):
                stamp_worker(uow, str(number))
    except DatabaseUnavailable:
        return False
    return True


@pytest.fixture
def moving(servers: Stack, database: Database, standby: Path, tmp_path: Path) -> Iterator[tuple[Database, Path]]:
    """A database whose address, a link, leads to the standby."""
    link = tmp_path / "db"
    link.symlink_to(standby)
    url = database.engine.url.set(query={"host": str(link), "port": str(PORT)}).render_as_string(False)
    engine = open_engine(url, 4, "moving")
    yield Database(engine, Recorded(), ""), link
    engine.dispose()


def test_connections_to_a_standby_are_given_up(
    servers: Stack, database: Database, moving: tuple[Database, Path]
) -> None:
    """Soon after the address leads elsewhere no change is refused any more, however many connections were open."""
    there, link = moving
    with there.reading(), there.reading(), there.reading():
        found = readiness(there, "0001")
    assert (found.database, found.migrated) == (True, True)
    assert "standby" in str(found.read_only)
    link.unlink()
    link.symlink_to(servers.data.sockets)
    assert wait_until(lambda: readiness(there, "0001").read_only is None, 90)
    # The others were opened a little later, and are given up a little later.
    assert wait_until(lambda: _takes_three(there), 90)
    assert one(database, "SELECT count(*) FROM worker_heartbeats") == 3


def test_a_refused_change_gives_up_all_connections(
    servers: Stack, database: Database, moving: tuple[Database, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This works even if the server does not report its role: PostgreSQL before 14, or a pooler in between."""
    monkeypatch.setattr(connection_pool, "_IN_RECOVERY", "no_such_parameter")
    there, link = moving
    with there.reading(), there.reading(), there.reading():
        pass
    with pytest.raises(DatabaseUnavailable, match="25006"), there.transaction() as uow:
        stamp_worker(uow, "one")
    link.unlink()
    link.symlink_to(servers.data.sockets)
    for name in ("one", "two", "three"):
        with there.transaction() as uow:
            stamp_worker(uow, name)
    assert one(database, "SELECT count(*) FROM worker_heartbeats") == 3
