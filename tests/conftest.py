"""The real parts that tests run on: one PostgreSQL and one Redis for the service tests, one whole stack for the rest.

A service test gets a database of its own, cloned from a migrated template. Tests over HTTP share the stack and keep
apart by namespaces: take `namespace` and make clients with `client_for`.
"""

import contextlib
import functools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg2
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from httpx._transports import default as transports
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

import settings
from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from domain.values.ids import INBOX
from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database, WakeUp

# How long an example takes tells of what else the machine does.
hypothesis.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("any machine")

# A shell that starts `make test` in the background ignores these. Each process that a test starts would inherit that:
# a signal that a test sends to such a process would then do nothing.
for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)

ROOT = Path(__file__).parents[1]
# Tests deliver webhooks to receivers on loopback.
LOOPBACK = {"SAGAHOLD_EGRESS_ALLOW": "127.0.0.0/8,::1/128"}
# The name of the database that is migrated once. The others are copies.
TEMPLATE = "template_sagahold"
# A whole stack has servers of its own, whatever an earlier test has set for the session. Tests deploy tool servers with
# keys of single namespaces.
ALONE = {
    **LOOPBACK,
    "DATABASE_URL": "",
    "REDIS_URL": "",
    # A second process takes as long to start as the first. `test_web_of_two` has it, and each `sagahold up`.
    "SAGAHOLD_WEB_PROCESSES": "1",
    "SAGAHOLD_STDIO_COMMANDS": f"{shlex.quote(sys.executable)},python,mcp-server-git,npx",
}
# The longest long poll that a client may ask for, and some.
HELD_SECONDS = 75.0
# The timeouts of HTTP clients for which a test sets none: the speed of an answer is no test's business. By default,
# httpx gives up after 5 s. An answer has taken that long while many tests ran at once.
DEFAULT_TIMEOUT_CONFIG.connect = DEFAULT_TIMEOUT_CONFIG.read = 70.0
DEFAULT_TIMEOUT_CONFIG.write = DEFAULT_TIMEOUT_CONFIG.pool = 70.0
# Each client loads the certificate authorities, which takes 40 ms of CPU. All clients of the tests share them.
transports.create_ssl_context = functools.cache(transports.create_ssl_context)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure coverage only where a floor holds: the tracer slows down each test and finds nothing new elsewhere."""
    measured = [ROOT / "tests" / room for room in ("domain", "services")]
    for item in items:
        if not any(item.path.is_relative_to(room) for room in measured):
            item.add_marker("no_cover")


class Recorded:
    """A publisher that only records its calls."""

    def __init__(self) -> None:
        self.wakeups: list[WakeUp] = []
        self.wakes: list[UUID] = []
        self.inbox_wakes = 0

    def publish(self, wakeups: Sequence[WakeUp], wakes: Sequence[UUID]) -> None:
        self.wakeups.extend(wakeups)
        self.wakes.extend(id_ for id_ in wakes if id_ != INBOX)
        self.inbox_wakes += INBOX in wakes


@pytest.fixture(scope="session")
def servers() -> Iterator[Stack]:
    """PostgreSQL and Redis alone, with the template database."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), processes=False) as running:
        stop_fsync(running)
        execute(running.database_url, f"CREATE DATABASE {TEMPLATE}")
        migrate(running.database_url.replace("/sagahold?", f"/{TEMPLATE}?"))
        yield running


def stop_fsync(stack: Stack) -> None:
    """Make PostgreSQL leave its writes to the kernel, which keeps them when a test kills a process.

    With fsync, a busy disk takes 1 to 3 s to create and drop a test's database, and 0.1 s without.
    """
    for statement in ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off"):
        execute(stack.database_url, statement)
    execute(stack.database_url, "SELECT pg_reload_conf()")


def migrate(database_url: str) -> None:
    command = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url}, check=True)


@pytest.fixture
def database_url(servers: Stack) -> Iterator[str]:
    """A migrated database of the test's own."""
    with new_database(servers, TEMPLATE) as url:
        yield url


@contextlib.contextmanager
def new_database(servers: Stack, template: str = "template1") -> Iterator[str]:
    """Create a database, yield its URL, and drop it."""
    name = f"test_{uuid4().hex}"
    execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield servers.database_url.replace("/sagahold?", f"/{name}?")
    execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def execute(database_url: str, statement: str) -> None:
    """Outside a transaction, as CREATE and DROP DATABASE need it."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)


def answers(database_url: str) -> bool:
    """Return whether the server accepts connections."""
    try:
        psycopg2.connect(database_url).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture
def publisher() -> Recorded:
    return Recorded()


@pytest.fixture
def database(database_url: str, publisher: Recorded) -> Iterator[Database]:
    environ = {"DATABASE_URL": database_url, "REDIS_URL": "redis://not-needed", **LOOPBACK}
    loaded = settings.load(environ)
    engine = open_engine(loaded.database_url, pool_size=32, name="test")
    yield Database(engine, publisher, "http://sagahold.test", loaded.egress_allow)
    engine.dispose()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Everything: PostgreSQL, Redis, web, worker, beat."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), environ=ALONE) as running:
        stop_fsync(running)
        yield running


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 at which no process listens, nor can while the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def held(stack: Stack) -> Callable[[], float]:
    """How many requests wait in the web process now that did not before, by its own metrics.

    At first none wait: one whose client has gone counts until the process looks again, which may be in the middle of
    the next test. An endless wait by an agent of an earlier test stays, and is left out.
    """
    headers = {"Authorization": f"Bearer {stack.credentials['operator_key']}"}

    def count() -> float:
        found = re.search(
            r"^sagahold_long_polls (\S+)$", httpx.get(f"{stack.url}/metrics", headers=headers).text, re.MULTILINE
        )
        assert found is not None
        return float(found[1])

    wait_until(lambda: count() == 0, HELD_SECONDS)
    left = count()
    return lambda: count() - left


@pytest.fixture(scope="session")
def stack_database(stack: Stack) -> Iterator[Database]:
    """The stack's own database, for what no route makes."""
    engine = open_engine(stack.settings.database_url, pool_size=4, name="test")
    yield Database(engine, Recorded(), stack.url)
    engine.dispose()


@pytest.fixture
def client_for(stack: Stack, namespace: str) -> Iterator[Callable[..., httpx.Client]]:
    """`client_for("reviewer")`: an HTTP client with a new key of that role in the test's namespace."""
    opened: list[httpx.Client] = []

    def make(role: str, namespaces: Sequence[str] | None = None) -> httpx.Client:
        new = {"name": f"test {role}", "role": role, "namespaces": list(namespaces or [namespace])}
        admin = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
        made = httpx.post(f"{stack.url}/v1/keys", json=new, headers=admin)
        made.raise_for_status()
        headers = {"Authorization": f"Bearer {made.json()['key']}"}
        client = httpx.Client(base_url=stack.url, headers=headers, timeout=70)
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()
