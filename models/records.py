"""Many new rows as one parameter of one statement: written once, however many rows there are, and one round trip."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Table, Text, bindparam, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSON


def insert_records(table: Table) -> Insert:
    """INSERT of all columns from the parameter `records`, as `as_records` makes it."""
    names = [column.name for column in table.columns]
    row = text(f"NULL::{table.name}")
    records = func.json_populate_recordset(row, cast(bindparam("records", type_=Text), JSON))
    return insert(table).from_select(names, select(*records.table_valued(*names).c))


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
