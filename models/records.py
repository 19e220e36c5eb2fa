"""Many rows as one parameter of one INSERT or UPDATE: the same statement for any number of rows, in one round trip."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import (
    Table,
    TableValuedAlias,
    Text,
    Update,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, Insert, insert


def insert_records(table: Table) -> Insert:
    """Return an INSERT of all columns from the parameter `records`, which `as_records` makes."""
    names = [column.name for column in table.columns]
    return insert(table).from_select(names, select(*_records(table, names).c))


def update_records(table: Table, names: Sequence[str]) -> Update:
    """Return an UPDATE of these columns from the parameter `records`, whose ids are also the parameter `ids`.

    Without the ids, PostgreSQL expects a hundred records, and might read the whole table.
    """
    records = _records(table, ["id", *names])
    these = table.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))), table.c.id == records.c.id
    return update(table).where(*these).values({name: records.c[name] for name in names})


def _records(table: Table, names: Sequence[str]) -> TableValuedAlias:
    row = text(f"NULL::{table.name}")
    records = func.json_populate_recordset(row, cast(bindparam("records", type_=Text), JSON))
    return records.table_valued(*names)


def as_records(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"no column has values of the type {type(value).__name__}")
