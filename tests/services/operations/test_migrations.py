"""Migrations of a database in use: others read and write meanwhile, and a second run finishes an interrupted one."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.conftest import ROOT, execute, new_database
from tests.services.operations.test_big_tables import BIG

ROWS, SECONDS = 1_000, 60.0
PAUSES = f"""
INSERT INTO pauses (id, created_at, revision, priority, namespace, kind, status, on_timeout, created_by, action)
SELECT gen_random_uuid(), now(), 1, 0, 'default', 'agent', 'pending', 'expire', 'key_agent', 'x'
FROM generate_series(1, {ROWS})
"""
NOTIFICATIONS = """
INSERT INTO notifications (id, pause_id, once, namespace, recipient, channel, reason, status, attempts, created_at,
    due_at, hint_at)
SELECT id, id, id, namespace, 'p@x.test', 'json://x', 'waiting', 'pending', 0, now(), now(), now() FROM pauses
"""
# The statements that read a whole table.
LONG = re.compile(
    r"ALTER TABLE (\w+) (?!.*(?:NOT VALID|USING INDEX)).*(?:ADD|VALIDATE) CONSTRAINT (\w+)"
    r"|CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(\w+) ON (\w+)"
)


class Interrupted(Exception):
    pass


class Meanwhile:
    """Interrupts each constraint's first validation. Holds up each long statement until others have used its table.

    A lock of the same kind as the statement's own holds it up. This lock delays no reader or writer. A statement that
    waits for a stronger lock delays them, and so does an earlier step of its transaction.
    """

    def __init__(self, url: str, threads: ThreadPoolExecutor) -> None:
        self._url = url
        self._threads = threads
        self.interrupted: set[str] = set()
        self.used: dict[str, Future[int]] = {}

    def hold_up(self, conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found = LONG.search(statement)
        if found is None:
            return
        table, name = found[1] or found[4], found[2] or found[3]
        if table not in BIG or not self._is_visible(table):
            return
        # Not each index: a run takes a while.
        if statement not in self.interrupted and ("VALIDATE" in statement or "UNIQUE" in statement):
            self.interrupted.add(statement)
            raise Interrupted
        for earlier in self.used.values():
            earlier.result()
        lock = self._connect()
        lock.cursor().execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        pid = conn.connection.driver_connection.info.backend_pid
        self.used[name] = self._threads.submit(self._use, table, pid, lock)

    def _is_visible(self, table: str) -> bool:
        """Return whether others can use the table: its migration has ended."""
        with closing(self._connect()) as other, other.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", [table])
            return cursor.fetchone() != (None,)

    def _use(self, table: str, pid: int, lock: Any) -> int:
        """Read and write while the statement waits for its lock. Return how many rows were read."""
        with closing(lock), closing(self._connect()) as other, other.cursor() as cursor:
            other.autocommit = True

            def is_waiting() -> bool:
                cursor.execute("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", [pid])
                return cursor.fetchone() is not None

            assert wait_until(is_waiting, SECONDS)
            cursor.execute(f"SELECT count(*) FROM {table}")
            (count,) = cursor.fetchone() or (0,)
            # The lock that each INSERT, UPDATE and DELETE takes.
            cursor.execute(f"BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE; COMMIT")
            assert is_waiting()
            return int(count)

    def _connect(self) -> Any:
        return psycopg2.connect(self._url, options="-c lock_timeout=3s")


@contextmanager
def listening(meanwhile: Meanwhile) -> Iterator[None]:
    event.listen(Engine, "before_cursor_execute", meanwhile.hold_up)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", meanwhile.hold_up)


def upgrade(revision: str) -> int:
    """Run the migrations again until none is interrupted. Return the number of runs."""
    for runs in range(1, 200):
        try:
            command.upgrade(Config(ROOT / "migrations/alembic.ini"), revision)
        except Interrupted:
            continue
        return runs
    raise AssertionError("the migrations make no progress")


@pytest.fixture
def empty_url(servers: Stack) -> Iterator[str]:
    with new_database(servers) as url:
        yield url


def test_others_read_and_write_during_each_long_step(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_url)
    upgrade("0002")
    execute(empty_url, PAUSES)
    with ThreadPoolExecutor() as threads:
        meanwhile = Meanwhile(empty_url, threads)
        with listening(meanwhile):
            runs = upgrade("0005")
            execute(empty_url, NOTIFICATIONS)
            runs += upgrade("head")
    assert runs == len(meanwhile.interrupted) + 2
    read = {name: future.result() for name, future in meanwhile.used.items()}
    for constraint in (
        *("ck_pauses_kind", "ck_pauses_on_timeout", "ck_pauses_no_self_decision", "ix_pauses_inbox"),
        *("fk_notifications_saga_id", "uq_notifications_saga_id_once", "ck_notifications_reason"),
    ):
        assert read[constraint] == ROWS
    with closing(psycopg2.connect(empty_url)) as conn, conn.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE NOT convalidated"
            " UNION ALL SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
        )
        assert cursor.fetchall() == []
