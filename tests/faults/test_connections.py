"""The connection pool when the server ends connections that are in use."""

import pytest
from sqlalchemy import Connection, select, text

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database


def test_connections_that_die_while_in_use_leave_no_hole_in_the_pool(database: Database) -> None:
    """More often than the pool has connections; it would be empty for good afterwards."""
    for _ in range(40):
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
    for _ in range(40):
        # One that was used before.
        with database.reading() as conn:
            conn.execute(select(1))
        with database.reading() as conn, database.reading() as other:
            pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with pytest.raises(DatabaseUnavailable), database.reading() as conn:
            conn.execute(select(1))
    with database.reading() as conn:
        assert conn.execute(select(1)).scalar_one() == 1


def end_own_backend(conn: Connection) -> None:
    conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
