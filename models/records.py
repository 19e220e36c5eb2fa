"""Many new rows as one parameter of one statement: written once, however many rows there are, and one round trip."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Insert,
    Table,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    cast,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy import column as sa_column
from sqlalchemy.dialects.postgresql import JSON


def insert_records(table: Table) -> Insert:
    """INSERT of all columns from the parameter `records`, as `as_records` makes it."""
    names = [column.name for column in table.columns]
    return insert(table).from_select(names, select(*_records(table).c))


def update_records(table: Table) -> Update:
    """UPDATE of all columns of the rows with the same primary key, from the parameter `records`."""
    new, key = _records(table), {column.name for column in table.primary_key}
    same = [table.c[name] == new.c[name] for name in key]
    changed = {column.name: new.c[column.name] for column in table.columns if column.name not in key}
    return update(table).where(*same).values(changed)


def _records(table: Table) -> TableValuedAlias:
    row = text(f"NULL::{table.name}")
    records = func.json_populate_recordset(row, cast(bindparam("records", type_=Text), JSON))
    columns = [sa_column(column.name, column.type) for column in table.columns]
    return records.table_valued(*columns).alias("new")


def as_records(rows: Iterable[Mapping[str, Any]]) -> str:
    return _encode(list(rows))


def _plain(value: object) -> str:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case bytes():
            return f"\\x{value.hex()}"
    raise TypeError(f"no column holds a {type(value).__name__}")


_encode = json.JSONEncoder(default=_plain, ensure_ascii=False, separators=(",", ":")).encode
