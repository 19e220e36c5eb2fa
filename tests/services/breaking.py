"""Connections that break in the middle of a transaction, as when a process is killed."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
from sqlalchemy import event, text

from services.kernel.unit_of_work import Database


@contextlib.contextmanager
def ending_after(database: Database, statement: str) -> Iterator[None]:
    """End the connection once the server has executed a statement with this text, as when its process is killed."""
    ended: list[str] = []

    def end(conn: Any, cursor: Any, sent: str, *_: Any) -> None:
        if statement in sent and not ended:
            ended.append(sent)
            pid = cursor.connection.info.backend_pid
            with database.reading() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})

    event.listen(database.engine, "after_cursor_execute", end)
    yield
    event.remove(database.engine, "after_cursor_execute", end)
    assert ended, f"no statement has {statement!r}"


class _LosesAnswers(psycopg2.extensions.cursor):  # type: ignore[misc]
    """Breaks the connection between a COMMIT and its answer."""

    def execute(self, query: str | bytes, vars: Any = None) -> None:
        super().execute(query, vars)
        if query.endswith("COMMIT" if isinstance(query, str) else b"COMMIT"):
            self.connection.close()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")


@contextlib.contextmanager
def losing_answers(database: Database) -> Iterator[None]:
    def use(driver: Any, *_: Any) -> None:
        driver.cursor_factory = _LosesAnswers

    event.listen(database.engine, "checkout", use)
    yield
    event.remove(database.engine, "checkout", use)
    database.engine.dispose()
