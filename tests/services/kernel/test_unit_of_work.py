"""Transactions on the real database: all or nothing, and a connection goes back to the pool as it came."""

from functools import partial
from threading import Barrier

import psycopg2
import pytest
from sqlalchemy import bindparam, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from models.leases import worker_heartbeats
from services.kernel.connection_pool import DatabaseUnavailable, reporting_unavailability
from services.kernel.leases import stamp_worker
from services.kernel.unit_of_work import ChangeWhileReading, Database, UnitOfWork, WakeUp
from tests.conftest import Recorded
from tests.services.world import at_once


class _Stop(BaseException):
    """Not an Exception, as an interrupt is none."""


def seen(database: Database) -> list[str]:
    with database.reading() as conn:
        return list(conn.execute(select(worker_heartbeats.c.worker)).scalars())


def states(database: Database) -> list[str]:
    """Return the states of the database's other connections."""
    query = "SELECT state FROM pg_stat_activity WHERE application_name = 'sagahold test' AND pid <> pg_backend_pid()"
    with database.reading() as conn:
        return list(conn.execute(text(query)).scalars())


def test_a_block_that_ends_is_committed(database: Database) -> None:
    with database.transaction() as uow:
        stamp_worker(uow, "one")
    assert seen(database) == ["one"]


def test_until_then_nobody_else_sees_it(database: Database) -> None:
    with database.transaction() as uow:
        stamp_worker(uow, "one")
        assert seen(database) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE worker_heartbeats SET seen_at = now()",
        "INSERT INTO worker_heartbeats VALUES ('two', now())",
        "DELETE FROM worker_heartbeats",
        "SELECT * FROM worker_heartbeats FOR UPDATE",
    ],
)
def test_who_reads_changes_and_locks_nothing(database: Database, statement: str) -> None:
    """It is a bug of ours, not an error of the database; and the connection stays usable."""
    with database.transaction() as uow:
        stamp_worker(uow, "one")
    with pytest.raises(ChangeWhileReading), database.reading() as conn:
        conn.execute(text(statement))
    assert seen(database) == ["one"]
    with database.transaction() as uow:
        uow.conn.execute(text(statement))


@pytest.mark.parametrize("kind", [ValueError, _Stop])
def test_a_block_that_raises_leaves_nothing(database: Database, publisher: Recorded, kind: type[BaseException]) -> None:
    """It leaves no rows, no wake-ups and no open transaction; and the same connection serves the next one."""
    with pytest.raises(kind), database.transaction() as uow:  # noqa: PT012
        stamp_worker(uow, "one")
        uow.wakeups.append(WakeUp("webhook", uow.new_id()))
        raise kind
    assert seen(database) == []
    assert publisher.wakeups == []
    with database.transaction() as uow:
        stamp_worker(uow, "two")
    assert seen(database) == ["two"]
    assert "idle in transaction" not in states(database)


def test_a_connection_that_broke_in_the_block_is_given_up(database: Database) -> None:
    """The caller hears of it, nothing is stored, and the next transaction gets a connection that works."""
    with pytest.raises(DatabaseUnavailable), database.transaction() as uow:  # noqa: PT012
        stamp_worker(uow, "one")
        with database.reading() as other:
            other.execute(
                text("SELECT pg_terminate_backend(:pid)"),
                {"pid": uow.conn.execute(text("SELECT pg_backend_pid()")).scalar()},
            )
    with database.transaction() as uow:
        stamp_worker(uow, "two")
    assert seen(database) == ["two"]


def test_one_of_two_deadlocked_transactions_is_retryable(database: Database) -> None:
    """PostgreSQL ends one of them, with nothing stored; the same again will succeed."""
    for name in ("one", "two"):
        with database.transaction() as uow:
            stamp_worker(uow, name)
    first = Barrier(2)

    def stamp(*names: str) -> None:
        with database.transaction() as uow:
            stamp_worker(uow, names[0])
            first.wait(90)
            stamp_worker(uow, names[1])

    outcomes = at_once([partial(stamp, "one", "two"), partial(stamp, "two", "one")])
    assert sorted(map(str, outcomes)) == ["None", "two transactions waited for each other (SQLSTATE 40P01)"]
    assert [type(outcome) for outcome in outcomes if outcome] == [DatabaseUnavailable]


NOTE = insert(worker_heartbeats).values(worker=bindparam("name"), seen_at=func.now())
COUNT = select(func.count()).select_from(worker_heartbeats)


def test_writes_are_sent_before_what_may_read_them(database: Database) -> None:
    """And not before: until then they cost nothing, and can be forgotten."""
    with database.transaction() as uow:
        start = uow.mark()
        uow.write(NOTE, {"name": "one"})
        assert uow.forget_since(start)
        uow.write(NOTE, {"name": "two"})
        assert uow.lookups.execute(COUNT).scalar_one() == 0
        assert uow.conn.execute(COUNT).scalar_one() == 1
        assert not uow.forget_since(start)
        uow.write(NOTE, {"name": "three"})
    assert seen(database) == ["two", "three"]


def write_and_fail(uow: UnitOfWork) -> None:
    uow.write(NOTE, {"name": "never"})
    uow.conn.execute(text("SELECT 1 / 0"))


def test_an_attempt_sends_its_writes_or_none(database: Database) -> None:
    with database.transaction() as uow:
        uow.write(NOTE, {"name": "before"})
        with pytest.raises(psycopg2.errors.UniqueViolation), uow.attempt():
            uow.write(NOTE, {"name": "before"})
        with pytest.raises(DBAPIError), uow.attempt():
            write_and_fail(uow)
        with uow.attempt():
            uow.write(NOTE, {"name": "after"})
    assert seen(database) == ["before", "after"]


def test_a_write_that_the_database_refuses_undoes_the_others(database: Database) -> None:
    """It is sent with the commit."""

    def write_twice() -> None:
        with database.transaction() as uow:
            uow.write(NOTE, {"name": "one"})
            uow.write(NOTE, {"name": "one"})

    with pytest.raises(psycopg2.errors.UniqueViolation):
        write_twice()
    assert seen(database) == []


def test_the_time_is_the_transactions_own(database: Database) -> None:
    """Each has the database's clock at its beginning, and a later one a later time."""
    with database.transaction() as first, database.transaction() as second:
        assert first.now < second.now
        assert second.now.utcoffset() is not None


def test_a_connection_that_breaks_in_a_commit_is_an_absence() -> None:
    """The driver then says no more than DatabaseError, without a state."""
    with pytest.raises(DatabaseUnavailable), reporting_unavailability():
        raise psycopg2.DatabaseError("server closed the connection unexpectedly")
    with pytest.raises(psycopg2.ProgrammingError), reporting_unavailability():
        raise psycopg2.ProgrammingError("no results to fetch")


PASSING = ("08006", "25006", "25P03", "25P04", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "58030")


@pytest.mark.parametrize("state", PASSING)
def test_what_passes_is_an_absence_that_says_why(database: Database, state: str) -> None:
    """As in a fail-over, whether SQLAlchemy ran the statement or the commit itself fails; the next one is served."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(DatabaseUnavailable, match=rf"^\w.* \(SQLSTATE {state}\)$"), database.transaction() as uow:
        uow.conn.execute(text(raising))
    with pytest.raises(DatabaseUnavailable, match=state), database.transaction() as uow:
        uow.conn.connection.driver_connection.cursor().execute(raising)  # type: ignore[union-attr]
    with database.transaction() as uow:
        stamp_worker(uow, "one")
    assert seen(database) == ["one"]


@pytest.mark.parametrize("state", ["22P02", "23505", "25P02", "40002", "42501", "42P01", "P0001"])
def test_what_would_fail_again_is_an_error(database: Database, state: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(DBAPIError), database.transaction() as uow:
        uow.conn.execute(text(raising))
