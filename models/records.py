"""Many new rows as one parameter of one statement: written once, however many rows there are, and one round trip."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Insert, Table, Text, bindparam, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSON


def insert_records(table: Table) -> Insert:
    """INSERT of all columns from the parameter `records`, as `as_records` makes it."""
    names = [column.name for column in table.columns]
    row = text(f"NULL::{table.name}")
    records = func.json_populate_recordset(row, cast(bindparam("records", type_=Text), JSON))
    return insert(table).from_select(names, select(*records.table_valued(*names).c))


def as_records(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"no column holds a {type(value).__name__}")
