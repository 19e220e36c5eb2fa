"""Prepared statements on the real server: the results of plain ones, whatever happened on the connection before."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Executable,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON
from sqlalchemy.exc import IntegrityError

from models.audit import audit_unlinked
from services.kernel import prepared
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.unit_of_work import ChangeWhileReading, Database, NoPublisher
from tests.conftest import execute

things = Table(
    "things",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("size", SmallInteger),
    Column("name", Text),
    Column("tags", ARRAY(Text)),
    Column("raw", LargeBinary),
    Column("doc", JSON),
    Column("at", DateTime(timezone=True)),
)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FULL = {
    "id": ONE,
    "size": 7,
    "name": "50% 'off' $1",
    "tags": ["a", "b,'c"],
    "raw": b"\x00\xff",
    "doc": {"a": [1, None]},
}
EMPTY: dict[str, Any] = {"id": TWO, "size": None, "name": None, "tags": [], "raw": b"", "doc": None, "at": None}


def hot(statement: Any) -> Any:
    return statement.execution_options(prepared=True)


INSERT = hot(insert(things).values({column.name: bindparam(f"new_{column.name}") for column in things.columns}))
# With a parameter twice, one whose type cannot be inferred, a list, and a percent sign.
FIND = hot(
    select(things, (things.c.at + bindparam("later", type_=Interval)).label("soon"))
    .where(or_(bindparam("named", type_=Text).is_(None), things.c.name == bindparam("named", type_=Text)))
    .where(things.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))), func.coalesce(things.c.name, "%").like("%%"))
    .order_by(things.c.id)
)
RESIZE = hot(update(things).where(things.c.size == bindparam("old")).values(size=bindparam("new")))
COUNT = hot(select(func.count()).select_from(things))
SAMPLE = {"later": timedelta(days=1), "named": None, "ids": [ONE, TWO, THREE]}


def values(row: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in row.items()}


@pytest.fixture
def opened(database: Database, database_url: str) -> Iterator[Callable[..., Database]]:
    """Open databases with one connection each, in which there is the table `things`."""
    engines = []
    url = database.engine.url.render_as_string(False)

    def open_database(**options: bool) -> Database:
        engines.append(engine := open_engine(url, 1, "test", **options))
        return Database(engine, NoPublisher(), "http://sagahold.test")

    execute(database_url, "CREATE TABLE things (id uuid PRIMARY KEY, size smallint, name text, tags text[], raw bytea,"
        " doc json, at timestamptz)")  # fmt: skip
    yield open_database
    for engine in engines:
        engine.dispose()
    execute(database_url, "DROP TABLE things")


def run(database: Database, statement: Executable, **parameters: Any) -> Any:
    """Execute a statement in a transaction of its own, and return its rows, or how many it changed."""
    with database.transaction() as uow:
        result = uow.conn.execute(statement, parameters)
        return [tuple(row) for row in result] if result.returns_rows else result.rowcount


def on_its_connection(database: Database, statement: str) -> list[Any]:
    with database.reading() as conn:
        return list(conn.execute(text(statement)).scalars())


def kept(database: Database) -> int:
    """Return how many statements the connection keeps."""
    return int(on_its_connection(database, "SELECT count(*) FROM pg_prepared_statements")[0])


def pretend_to_pool(database: Database, statement: str) -> None:
    """Execute what a pooler or its other client does in the session behind the connection."""
    driver: Any = database.engine.raw_connection()
    driver.driver_connection.autocommit = True
    driver.cursor().execute(statement)
    driver.driver_connection.autocommit = False
    driver.close()


@pytest.mark.parametrize("options", [{}, {"prepared": False}], ids=["prepared", "plain"])
def test_the_results_are_those_of_plain_statements(opened: Callable[..., Database], options: dict[str, bool]) -> None:
    database = opened(**options)
    assert [run(database, INSERT, **values(row)) for row in (FULL | {"at": NOON}, EMPTY)] == [1, 1]
    for _ in range(7):  # from the sixth time on the server may reuse one plan
        first, second = run(database, FIND, **SAMPLE)
        assert first == (*FULL.values(), NOON, NOON + timedelta(days=1))
        assert second == (*EMPTY.values(), None)
    assert run(database, FIND, **SAMPLE | {"named": "x"}) == run(database, FIND, **SAMPLE | {"ids": []}) == []
    assert [run(database, RESIZE, old=7, new=8), run(database, RESIZE, old=7, new=9)] == [1, 0]
    with database.reading() as conn:
        assert conn.execute(COUNT).scalar_one() == 2
    with pytest.raises(ChangeWhileReading), database.reading() as conn:
        conn.execute(RESIZE, {"old": 8, "new": 9})
    assert kept(database) == (0 if options else 4)


def test_a_statement_is_known_after_a_rollback_and_after_it_failed(opened: Callable[..., Database]) -> None:
    """PREPARE outlives a rollback. It may also have failed with the message, or with the transaction before it."""
    database = opened()
    with pytest.raises(ZeroDivisionError), database.transaction() as uow:
        assert uow.conn.execute(INSERT, values(EMPTY)).rowcount / 0
    assert run(database, INSERT, **values(EMPTY)) == 1
    for _ in range(2):  # here EXECUTE alone fails
        with pytest.raises(IntegrityError):
            run(database, INSERT, **values(EMPTY))
    fresh = opened()
    for _ in range(2):  # here the message with PREPARE fails
        with pytest.raises(IntegrityError):
            run(fresh, INSERT, **values(EMPTY))
    with fresh.transaction() as uow:
        with pytest.raises(IntegrityError), uow.attempt():
            uow.conn.execute(INSERT, values(EMPTY))
        assert uow.conn.execute(COUNT).scalar_one() == 1
    assert run(fresh, INSERT, **values(FULL | {"at": None})) == 1
    assert kept(fresh) == 2


@pytest.mark.parametrize("lost", ["DISCARD ALL", "another client"])
def test_behind_a_pooler_that_keeps_no_sessions_it_stops(
    opened: Callable[..., Database], lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One transaction fails as when the connection breaks. Later ones send plain statements."""
    database, other = opened(), opened()
    run(other, INSERT, **values(EMPTY))
    if lost == "DISCARD ALL":
        run(database, INSERT, **values(FULL | {"at": None}))
        pretend_to_pool(database, lost)
    else:
        (theirs,) = on_its_connection(other, "SELECT statement FROM pg_prepared_statements")
        pretend_to_pool(database, theirs.partition("; EXECUTE")[0])
    with pytest.raises(DatabaseUnavailable, match="prepared statement"):
        run(database, INSERT, **values(EMPTY | {"id": THREE}))
    assert "SAGAHOLD_PREPARED_STATEMENTS=false" in caplog.text
    before = run(database, COUNT)[0][0]
    assert run(database, INSERT, **values(EMPTY | {"id": THREE})) == 1
    assert run(database, COUNT) == [(before + 1,)]


def test_a_migration_under_a_live_connection_fails_one_transaction(
    opened: Callable[..., Database], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The statement is prepared again, and so are the others, on every connection."""
    database = opened()
    run(database, INSERT, **values(FULL | {"at": NOON}))
    before = run(database, FIND, **SAMPLE)
    execute(database_url, "ALTER TABLE things ALTER size TYPE bigint, ADD more text DEFAULT 'more'")
    with pytest.raises(DatabaseUnavailable, match="result type"):
        run(database, FIND, **SAMPLE)
    assert "prepared again" in caplog.text
    assert run(database, FIND, **SAMPLE) == before
    assert run(database, INSERT, **values(EMPTY)) == 1
    assert kept(database) == 2


def test_a_connection_keeps_a_bounded_number(opened: Callable[..., Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that has the values in it is never prepared, and beyond the limit no other is either."""
    monkeypatch.setattr(prepared, "LIMIT", 2)
    database = opened()
    for number in range(3):
        run(database, hot(select(func.count()).where(things.c.size.in_([*range(number)]))))
    assert kept(database) == 0
    for number in range(4):
        assert run(database, hot(select(func.count().label(f"n{number}")).select_from(things))) == [(0,)]
    assert kept(database) == 2


@pytest.mark.parametrize("options", [{}, {"prepared": False}], ids=["prepared", "plain"])
def test_entries_of_the_log_are_inserted_with_the_commit(
    opened: Callable[..., Database], options: dict[str, bool]
) -> None:
    database = opened(**options)
    for number in range(3):
        with database.transaction() as uow:
            uow.record(None, "default", "thing.made", f"th_{number}", size="100% 'off'")
    pretend_to_pool(database, "DISCARD ALL")
    if not options:
        with pytest.raises(DatabaseUnavailable, match="prepared statement"), database.transaction() as uow:
            uow.record(None, "default", "thing.made", "th_lost")
    with database.transaction() as uow:
        uow.record(None, "default", "thing.made", "th_3")
    with database.reading() as conn:
        assert len(conn.execute(select(audit_unlinked)).all()) == 4
