"""Readiness and backlog of an empty, an old, a broken and a working database."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cli.devstack import Stack
from domain.identity.access import Role
from domain.sagas.outcome import Lost
from services.kernel.connection_pool import open_engine
from services.kernel.leases import BEAT, stamp_worker
from services.kernel.unit_of_work import Database
from services.operations.health import Backlog, Readiness, backlog, readiness
from tests.conftest import Recorded, new_database
from tests.services.by_watch_id import decide_pause
from tests.services.people import person, tell
from tests.services.saga_turns import advance, record
from tests.services.saga_world import start, step
from tests.services.world import (
    REVIEWER,
    an_endpoint,
    approve,
    change,
    claim,
    deliveries,
    finish,
    linked,
    one,
    post,
    rows,
    someone,
)


@pytest.fixture
def empty(servers: Stack) -> Iterator[Database]:
    """A database without a single table."""
    with new_database(servers) as url:
        engine = open_engine(url.replace("postgresql://", "postgresql+psycopg2://"), 2, "test")
        yield Database(engine, Recorded(), "http://sagahold.test")
        engine.dispose()


def test_ready(database: Database) -> None:
    """Migrated as far as this code needs; workers are those that were seen lately."""
    revision = one(database, "SELECT version_num FROM alembic_version")
    assert readiness(database, revision) == Readiness(True, True, 0, False)
    with database.transaction() as uow:
        for worker in ("one", "two", "two"):
            stamp_worker(uow, worker)
    assert readiness(database, revision) == Readiness(True, True, 2, False)
    change(database, "UPDATE worker_heartbeats SET seen_at = now() - interval '16 s' WHERE worker = 'one'")
    assert readiness(database, revision) == Readiness(True, True, 1, False)


def test_beat_is_no_worker(database: Database) -> None:
    """It is seen by the sweeps that it asks for."""
    revision = one(database, "SELECT version_num FROM alembic_version")
    with database.transaction() as uow:
        for seen in ("one", BEAT):
            stamp_worker(uow, seen)
    assert readiness(database, revision) == Readiness(True, True, 1, True)
    assert backlog(database).workers == 1
    change(database, "UPDATE worker_heartbeats SET seen_at = now() - interval '16 s' WHERE worker = 'beat'")
    assert readiness(database, revision) == Readiness(True, True, 1, False)


def test_another_revision(database: Database) -> None:
    """This code must not work on tables that it does not know."""
    assert readiness(database, "9999") == Readiness(True, False, 0, False)


def test_newer_migration(database: Database) -> None:
    """While a new version is rolled out, the old processes go on serving on the tables that it has added to."""
    assert readiness(database, "0000").migrated


def test_nothing_was_ever_migrated(empty: Database) -> None:
    assert readiness(empty, "0001") == Readiness(True, False, 0, False)


def test_migrations_were_begun_only(empty: Database) -> None:
    """The table of versions alone, without a version."""
    change(empty, "CREATE TABLE alembic_version (version_num text)")
    assert readiness(empty, "0001") == Readiness(True, False, 0, False)


def test_no_database(servers: Stack) -> None:
    """An answer, not an exception: neither for a wrong name nor for no server at all."""
    url = servers.database_url.replace("/sagahold?", "/nowhere?").replace("postgresql://", "postgresql+psycopg2://")
    for wrong in (url, "postgresql+psycopg2://127.0.0.1:1/sagahold"):
        engine = open_engine(wrong, 1, "test")
        assert readiness(Database(engine, Recorded(), ""), "0001") == Readiness(False, False, 0, False)
        engine.dispose()


def test_a_pool_that_is_used_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a database that cannot be reached, for this process."""
    monkeypatch.setattr("services.kernel.connection_pool.POOL_TIMEOUT_SECONDS", 0.1)
    engine = open_engine(database.engine.url.render_as_string(False), 1, "test")
    with closing(engine.connect()):
        assert not readiness(Database(engine, Recorded(), ""), "0001").database
    engine.dispose()


def test_an_error_for_the_log_quotes_no_values(database: Database) -> None:
    """The parameters of a statement may be secrets."""
    with pytest.raises(DBAPIError) as caught, database.reading() as conn:
        conn.execute(text("SELECT 1 / (length(:secret) - 7)"), {"secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_statements_have_limits(database: Database) -> None:
    """So one slow statement, lock or idle transaction does not delay others for long. Times are UTC."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"
    found = {row["name"]: row["setting"] for row in rows(database, query, names=list(names))}
    assert found == {
        "statement_timeout": "10000",
        "lock_timeout": "5000",
        "idle_in_transaction_session_timeout": "30000",
        "TimeZone": "UTC",
    }


def test_backlog(database: Database) -> None:
    """The backlog shows how much waits, for how long, and what needs an operator."""
    assert backlog(database) == Backlog(0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0)
    an_endpoint(database, event_types=("pause.created",))
    post(database)
    decide_pause(database, REVIEWER, post(database), approve())
    change(database, "UPDATE webhook_deliveries SET due_at = due_at - interval '1 min'")
    found = backlog(database)
    assert (found.pending_pauses, found.pending_deliveries, found.exhausted_deliveries) == (1, 2, 0)
    assert 60 <= found.overdue_seconds < 600
    finish(database, claim(database, deliveries(database)[0]), 410)
    assert backlog(linked(database)) == Backlog(1, 0, 0.0, 2, 1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("column", ["expires_at", "attend_at"])
def test_backlog_of_time(database: Database, column: str) -> None:
    """An expiry or a reminder that no sweep processes is overdue too, until the pause is decided."""
    watch_id = post(database, review={"remind_after": [3600]})
    change(database, "UPDATE pauses SET attend_at = now() + interval '1 h'")
    assert backlog(database).overdue_seconds == 0.0
    moved = f"created_at = now() - interval '2 min', {column} = now() - interval '1 min'"
    change(database, f"UPDATE pauses SET {moved}")
    assert 60 <= backlog(database).overdue_seconds < 600
    change(database, "UPDATE pauses SET expires_at = now() + interval '1 h'")
    decide_pause(database, REVIEWER, watch_id, approve())
    assert backlog(database).overdue_seconds == 0.0


def test_backlog_of_notifications(database: Database) -> None:
    """One notification waits, and one is given up. Those of a decided review do not count."""
    told = post(database)
    person(database, "anne", "json://a")
    tell(database, told)
    change(database, "UPDATE notifications SET due_at = due_at - interval '1 min'")
    found = backlog(database)
    assert (found.pending_notifications, found.failed_notifications) == (1, 0)
    assert 60 <= found.overdue_seconds < 600
    change(database, "UPDATE notifications SET status = 'failed', completed_at = now()")
    found = backlog(database)
    assert (found.pending_notifications, found.failed_notifications, found.overdue_seconds) == (0, 1, 0.0)
    decide_pause(database, REVIEWER, told, approve())
    assert backlog(database).failed_notifications == 0


def test_backlog_of_sagas(database: Database) -> None:
    """One saga waits for a worker, and one has a call of unknown outcome."""
    start(database, step("a"))
    change(database, "UPDATE sagas SET due_at = due_at - interval '1 min'")
    found = backlog(database)
    assert (found.due_sagas, found.sagas_needing_operator) == (1, 0)
    assert 60 <= found.overdue_seconds < 600
    call = advance(database, one(database, "SELECT id FROM sagas"))
    assert call is not None
    assert backlog(database).overdue_seconds == 0.0, "a worker is at it"
    record(database, call, Lost("the connection broke", idempotent=False), {}, 0.5)
    found = backlog(database)
    assert (found.due_sagas, found.sagas_needing_operator) == (0, 1)


def test_a_backlog_is_of_what_its_reader_may_see(database: Database) -> None:
    post(database)
    start(database, step("a"))
    elsewhere, here = (someone(Role.OPERATOR, name) for name in ("elsewhere", "default"))
    assert replace(backlog(linked(database), elsewhere), workers=0) == Backlog(0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0)
    found = backlog(database, here)
    assert (found.pending_pauses, found.due_sagas) == (1, 1)
