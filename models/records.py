"""Many new rows as one parameter of one INSERT: the same statement for any number of rows, in one round trip."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Insert, Table, Text, bindparam, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSON


def insert_records(table: Table) -> Insert:
    """Return an INSERT of all columns from the parameter `records`, which `as_records` makes."""
    names = [column.name for column in table.columns]
    row = text(f"NULL::{table.name}")
    records = func.json_populate_recordset(row, cast(bindparam("records", type_=Text), JSON))
    return insert(table).from_select(names, select(*records.table_valued(*names).c))


def as_records(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"no column has values of the type {type(value).__name__}")
