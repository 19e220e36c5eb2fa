"""Steps that read a big table while others read and write it. Each commits, and a second run repeats what is left."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

# A step that cannot get its lock in this time fails and is run again later, so that no query queues behind it.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "5min"


@contextmanager
def _patiently() -> Iterator[None]:
    """Commit each statement, and let it take its time: it blocks neither readers nor writers."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute("SET statement_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        op.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")


def replace_constraint(table: str, name: str, definition: str) -> None:
    """Replace a CHECK or a foreign key, or add it. Rows that exist are checked after its exclusive lock is released."""
    with op.get_context().autocommit_block():
        changes = f"DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} {definition} NOT VALID"
        op.execute(f"ALTER TABLE {table} {changes}")
    with _patiently():
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def build_index(
    table: str,
    name: str,
    columns: Sequence[str | sa.TextClause],
    where: str | None = None,
    *,
    unique: bool = False,
) -> None:
    """Build an index, after removing what an interrupted run left of it."""
    condition = None if where is None else sa.text(where)
    with _patiently():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, unique=unique, postgresql_where=condition, postgresql_concurrently=True)


def drop_index(table: str, name: str) -> None:
    with _patiently():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
