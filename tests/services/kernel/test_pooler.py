"""PgBouncer between this process and PostgreSQL: what a session would keep goes with each transaction."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Connection, select, text

from domain.values.server_urls import database_url as database_url_of
from models.leases import worker_heartbeats
from services.kernel.connection_pool import (
    _PARAMETERS,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    open_engine,
)
from services.kernel.leases import stamp_worker
from services.kernel.pooler import shares_sessions
from services.kernel.unit_of_work import ChangeWhileReading, Database, NoPublisher
from services.reviews.rehearsal import rehearse
from tests.conftest import ROOT
from tests.pgbouncer import PgBouncer

Through = Callable[..., Database]
IGNORED = {"ignore_startup_parameters": "options"}


@pytest.fixture
def through(database_url: str, tmp_path: Path) -> Iterator[Through]:
    """Open the test's database through a PgBouncer with these options."""
    with ExitStack() as opened:

        def make(**options: object) -> Database:
            pooler = PgBouncer(tmp_path, database_url, **options)
            opened.callback(pooler.stop)
            engine = open_engine(database_url_of(pooler.url), 4, "pooled")
            opened.callback(engine.dispose)
            return Database(engine, NoPublisher(), "")

        yield make


def limits(conn: Connection) -> dict[str, str]:
    names = {name.lower(): name for name in _PARAMETERS}
    found = conn.execute(text("SELECT lower(name), setting FROM pg_settings")).all()
    return {names[name]: setting for name, setting in found if name in names}


@pytest.mark.parametrize("options", [{}, IGNORED], ids=["refuses parameters", "ignores parameters"])
def test_limits_go_with_each_transaction(
    through: Through, options: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They hold in every kind of transaction, and stay in none of the pooler's sessions."""
    caplog.set_level("INFO")
    monkeypatch.setitem(_PARAMETERS, "statement_timeout", "500")
    database = through(**options)
    expected = {**_PARAMETERS, "statement_timeout": "500"}
    assert caplog.text.count("a pooler is in front of PostgreSQL") == 0
    with database.transaction() as uow:
        assert limits(uow.conn) == expected
    for kind in (database.reading, database.snapshot):
        with kind() as conn:
            assert limits(conn) == expected
            with pytest.raises(Exception, match="statement timeout"):
                conn.execute(text("SELECT pg_sleep(60)"))
    with pytest.raises(DatabaseUnavailable, match="57014"):
        database.execute_alone(text("SELECT pg_sleep(60)"), {})
    with pytest.raises(ChangeWhileReading), database.reading() as conn:
        conn.execute(worker_heartbeats.delete())
    assert caplog.text.count("a pooler is in front of PostgreSQL") == 1
    plain = psycopg2.connect(database.engine.url.set(drivername="postgresql").render_as_string(False))
    with plain, plain.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)
    plain.close()


def test_statements_are_not_prepared(through: Through, caplog: pytest.LogCaptureFixture) -> None:
    """A whole saga succeeds at once, however often sessions change hands."""
    database = through(default_pool_size=3, server_round_robin=1)
    for _ in range(3):
        rehearse(database)
    with database.transaction() as one, database.transaction() as two:
        stamp_worker(one, "one")
        stamp_worker(two, "two")
    with database.reading() as conn:
        assert set(conn.execute(select(worker_heartbeats.c.worker)).scalars()) == {"one", "two"}
        assert conn.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
    assert "no longer prepared" not in caplog.text


def test_statement_mode_is_refused(through: Through) -> None:
    database = through(pool_mode="statement")
    with pytest.raises(DatabaseUnsuitable, match="set pool_mode = transaction"), database.transaction():
        pass


def test_release_refuses_sessions_that_are_shared(through: Through) -> None:
    """It says so before it takes a lock that another client would keep."""
    url = through().engine.url.render_as_string(False)
    command = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("sagahold: DATABASE_URL leads to a pooler that shares sessions")
    assert "run `sagahold release` with PostgreSQL's own address" in ran.stderr
    assert url not in ran.stderr


def test_sessions_of_ones_own_are_recognised(through: Through, database: Database) -> None:
    for opened in (through(pool_mode="session"), database):
        assert not shares_sessions(opened.engine.url.render_as_string(False))
