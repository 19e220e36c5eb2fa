"""The check of a call's arguments for values that the tool's own schema requires."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jsonschema_rs

from domain.values import json_schema

# Arguments that receive the call's own key if a tool's schema has them.
KEY_ARGUMENTS = ("idempotency_key", "warden_idempotency_key")


def unfilled(schema: Mapping[str, Any], arguments: Mapping[str, Any], may_be_null: Collection[str]) -> str | None:
    """Return which required argument the tool would get as null or not at all, or None.

    `may_be_null` has the arguments whose null is intended. An unreadable schema requires nothing.
    """
    for name in _required(dict(schema)):
        if name in KEY_ARGUMENTS:
            continue
        if name not in arguments:
            return f"requires {name!r}, which is missing"
        if arguments[name] is None and name not in may_be_null and not _takes_null(dict(schema), name):
            return f"requires {name!r}, which is null"
    return None


def _required(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the required names of the schema, its references and its `allOf`."""
    waiting: list[Any] = [schema]
    for _ in range(json_schema.MAX_REFERENCES):
        part = waiting.pop(0) if waiting else None
        if not isinstance(part, dict):
            continue
        names = part.get("required")
        yield from (name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))
        parts = part.get("allOf")
        waiting += parts if isinstance(parts, list) else []
        if isinstance(reference := part.get("$ref"), str):
            try:
                waiting.append(json_schema.resolve(schema, reference))
            except ValueError:
                continue


def _takes_null(schema: dict[str, Any], name: str) -> bool:
    try:
        errors = list(json_schema.validator(schema).iter_errors({name: None}))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return True
    return not any(list(error.instance_path)[:1] == [name] for error in errors)
