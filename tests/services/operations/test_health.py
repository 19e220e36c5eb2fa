"""Readiness and backlog: what an operator is told of an empty, an old, a broken and a working database."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cli.devstack import Stack
from domain.identity.access import Role
from domain.sagas.outcome import Lost
from services.kernel.connection_pool import open_engine
from services.kernel.leases import BEAT, stamp_worker
from services.kernel.unit_of_work import Store
from services.operations.health import Backlog, Readiness, backlog, readiness
from services.reviews.decisions import decide_pause
from services.sagas.engine import advance, record
from tests.conftest import Recorded, execute
from tests.services.people import person, tell
from tests.services.saga_world import start, step
from tests.services.world import (
    REVIEWER,
    an_endpoint,
    approve,
    change,
    claim,
    deliveries,
    finish,
    one,
    post,
    rows,
    someone,
)


@pytest.fixture
def empty(servers: Stack) -> Iterator[Store]:
    """A database without a single table."""
    name = f"test_{uuid4().hex}"
    execute(servers.database_url, f"CREATE DATABASE {name}")
    url = servers.database_url.replace("/sagahold?", f"/{name}?").replace("postgresql://", "postgresql+psycopg2://")
    engine = open_engine(url, 2, "test")
    yield Store(engine, Recorded(), "http://sagahold.test")
    engine.dispose()
    execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_ready(store: Store) -> None:
    """Migrated as far as this code needs; workers are those that were seen lately."""
    revision = one(store, "SELECT version_num FROM alembic_version")
    assert readiness(store, revision) == Readiness(True, True, 0, False)
    with store.transaction() as tx:
        for worker in ("one", "two", "two"):
            stamp_worker(tx, worker)
    assert readiness(store, revision) == Readiness(True, True, 2, False)
    change(store, "UPDATE worker_heartbeats SET seen_at = now() - interval '16 s' WHERE worker = 'one'")
    assert readiness(store, revision) == Readiness(True, True, 1, False)


def test_beat_is_no_worker(store: Store) -> None:
    """It is seen by the sweeps that it asks for."""
    revision = one(store, "SELECT version_num FROM alembic_version")
    with store.transaction() as tx:
        for seen in ("one", BEAT):
            stamp_worker(tx, seen)
    assert readiness(store, revision) == Readiness(True, True, 1, True)
    assert backlog(store).workers == 1
    change(store, "UPDATE worker_heartbeats SET seen_at = now() - interval '16 s' WHERE worker = 'beat'")
    assert readiness(store, revision) == Readiness(True, True, 1, False)


def test_another_revision(store: Store) -> None:
    """This code must not work on tables that it does not know."""
    assert readiness(store, "9999") == Readiness(True, False, 0, False)


def test_newer_migration(store: Store) -> None:
    """While a new version is rolled out, the old processes go on serving on the tables that it has added to."""
    assert readiness(store, "0000").migrated


def test_nothing_was_ever_migrated(empty: Store) -> None:
    assert readiness(empty, "0001") == Readiness(True, False, 0, False)


def test_migrations_were_begun_only(empty: Store) -> None:
    """The table of versions alone, without a version."""
    change(empty, "CREATE TABLE alembic_version (version_num text)")
    assert readiness(empty, "0001") == Readiness(True, False, 0, False)


def test_no_database(servers: Stack) -> None:
    """An answer, not an exception: neither for a wrong name nor for no server at all."""
    url = servers.database_url.replace("/sagahold?", "/nowhere?").replace("postgresql://", "postgresql+psycopg2://")
    for wrong in (url, "postgresql+psycopg2://127.0.0.1:1/sagahold"):
        engine = open_engine(wrong, 1, "test")
        assert readiness(Store(engine, Recorded(), ""), "0001") == Readiness(False, False, 0, False)
        engine.dispose()


def test_a_pool_that_is_used_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a database that cannot be reached, for this process."""
    monkeypatch.setattr("services.kernel.connection_pool.POOL_TIMEOUT_SECONDS", 0.1)
    engine = open_engine(store.engine.url.render_as_string(False), 1, "test")
    with closing(engine.connect()):
        assert not readiness(Store(engine, Recorded(), ""), "0001").database
    engine.dispose()


def test_an_error_for_the_log_quotes_no_values(store: Store) -> None:
    """Of a statement there may be secrets among them."""
    with pytest.raises(DBAPIError) as caught, store.reading() as conn:
        conn.execute(text("SELECT 1 / (length(:secret) - 7)"), {"secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_statements_have_limits(store: Store) -> None:
    """So that one slow statement, lock or forgotten transaction holds up nobody for long; times are UTC."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"
    found = {row["name"]: row["setting"] for row in rows(store, query, names=list(names))}
    assert found == {
        "statement_timeout": "10000",
        "lock_timeout": "5000",
        "idle_in_transaction_session_timeout": "30000",
        "TimeZone": "UTC",
    }


def test_backlog(store: Store) -> None:
    """What waits, for how long, and what needs an operator."""
    assert backlog(store) == Backlog(0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0)
    an_endpoint(store, event_types=("pause.created",))
    post(store)
    decide_pause(store, REVIEWER, post(store), approve())
    change(store, "UPDATE webhook_deliveries SET due_at = due_at - interval '1 min'")
    found = backlog(store)
    assert (found.pending_pauses, found.pending_deliveries, found.exhausted_deliveries) == (1, 2, 0)
    assert 60 <= found.overdue_seconds < 600
    finish(store, claim(store, deliveries(store)[0]), 410)
    assert backlog(store) == Backlog(1, 0, 0.0, 2, 1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("column", ["expires_at", "attend_at"])
def test_backlog_of_time(store: Store, column: str) -> None:
    """An expiry or a reminder that nobody sees to is overdue too, until the pause is decided."""
    watch_id = post(store, review={"remind_after": [3600]})
    change(store, "UPDATE pauses SET attend_at = now() + interval '1 h'")
    assert backlog(store).overdue_seconds == 0.0
    moved = f"created_at = now() - interval '2 min', {column} = now() - interval '1 min'"
    change(store, f"UPDATE pauses SET {moved}")
    assert 60 <= backlog(store).overdue_seconds < 600
    change(store, "UPDATE pauses SET expires_at = now() + interval '1 h'")
    decide_pause(store, REVIEWER, watch_id, approve())
    assert backlog(store).overdue_seconds == 0.0


def test_backlog_of_notifications(store: Store) -> None:
    """One that waits, and one given up; of a review that is decided nobody needs to hear."""
    told = post(store)
    person(store, "anne", "json://a")
    tell(store, told)
    change(store, "UPDATE notifications SET due_at = due_at - interval '1 min'")
    found = backlog(store)
    assert (found.pending_notifications, found.failed_notifications) == (1, 0)
    assert 60 <= found.overdue_seconds < 600
    change(store, "UPDATE notifications SET status = 'failed', completed_at = now()")
    found = backlog(store)
    assert (found.pending_notifications, found.failed_notifications, found.overdue_seconds) == (0, 1, 0.0)
    decide_pause(store, REVIEWER, told, approve())
    assert backlog(store).failed_notifications == 0


def test_backlog_of_sagas(store: Store) -> None:
    """One that waits for a worker, and one whose call's outcome nobody knows."""
    start(store, step("a"))
    change(store, "UPDATE sagas SET due_at = due_at - interval '1 min'")
    found = backlog(store)
    assert (found.due_sagas, found.sagas_needing_operator) == (1, 0)
    assert 60 <= found.overdue_seconds < 600
    call = advance(store, one(store, "SELECT id FROM sagas"))
    assert call is not None
    assert backlog(store).overdue_seconds == 0.0, "a worker is at it"
    record(store, call, Lost("the connection broke", idempotent=False), {}, 0.5)
    found = backlog(store)
    assert (found.due_sagas, found.sagas_needing_operator) == (0, 1)


def test_a_backlog_is_of_what_its_reader_may_see(store: Store) -> None:
    post(store)
    start(store, step("a"))
    elsewhere, here = (someone(Role.OPERATOR, name) for name in ("elsewhere", "default"))
    assert replace(backlog(store, elsewhere), workers=0) == Backlog(0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0)
    found = backlog(store, here)
    assert (found.pending_pauses, found.due_sagas) == (1, 1)
