"""The connection pool when the server ends connections that are in use."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, select, text, update

from models.keys import api_keys
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.unit_of_work import Database, UnitOfWork

# Connections of the pool: enough for the tests, few enough to lose them all quickly.
POOL = 3
TOUCH = update(api_keys).values(name=api_keys.c.name)


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    engine = open_engine(database.engine.url.render_as_string(hide_password=False), POOL, "test")
    yield replace(database, engine=engine)
    engine.dispose()


def test_connections_that_die_while_in_use_leave_no_hole_in_the_pool(database: Database) -> None:
    """More often than the pool has connections; it would be empty for good afterwards."""
    for _ in range(POOL + 2):
        with pytest.raises(DatabaseUnavailable), database.reading() as conn:
            end_own_backend(conn)
        with pytest.raises(DatabaseUnavailable), database.transaction() as uow:
            end_own_backend(uow.conn)
    with database.reading() as conn:
        assert conn.execute(select(1)).scalar_one() == 1
    with database.transaction() as uow:
        assert uow.conn.execute(select(1)).scalar_one() == 1


def test_connections_that_die_between_answer_and_return(database: Database) -> None:
    """A caller keeps the result that it received, and the pool keeps its size."""
    for _ in range(POOL + 2):
        # One that was used before.
        with database.reading() as conn:
            conn.execute(select(1))
        with database.reading() as conn, database.reading() as other:
            end_backend(other, conn)
        with pytest.raises(DatabaseUnavailable), database.reading() as conn:
            conn.execute(select(1))
    with database.reading() as conn:
        assert conn.execute(select(1)).scalar_one() == 1


def test_connections_that_die_within_a_savepoint(database: Database) -> None:
    """They cannot be rolled back to it. The caller learns that the database is unavailable."""
    with pytest.raises(DatabaseUnavailable), database.transaction() as uow, uow.attempt():
        end_own_backend(uow.conn)
    with pytest.raises(DatabaseUnavailable), database.transaction() as uow, uow.attempt():
        end_before_a_write(database, uow)
    with database.transaction() as uow:
        assert uow.conn.execute(select(1)).scalar_one() == 1


def end_before_a_write(database: Database, uow: UnitOfWork) -> None:
    """The driver finds out, without SQLAlchemy."""
    with database.reading() as other:
        end_backend(other, uow.conn)
    uow.write(TOUCH, {})


def end_backend(other: Connection, conn: Connection) -> None:
    pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def end_own_backend(conn: Connection) -> None:
    conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
