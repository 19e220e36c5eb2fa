"""What a tool's own schema says of the arguments that it is about to be called with."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jsonschema_rs

from domain.values import json_schema

# Arguments that are filled with the call's own key where a tool's schema has them.
KEY_ARGUMENTS = ("idempotency_key", "warden_idempotency_key")


def unfilled(schema: Mapping[str, Any], arguments: Mapping[str, Any], may_be_null: Collection[str]) -> str | None:
    """Which argument the tool requires, and would get as null or not at all; None where there is none.

    `may_be_null`: those whose null is meant. A schema that cannot be read requires nothing.
    """
    for name in _required(dict(schema)):
        if name in KEY_ARGUMENTS:
            continue
        if name not in arguments:
            return f"requires {name!r}, which is not given"
        if arguments[name] is None and name not in may_be_null and not _takes_null(dict(schema), name):
            return f"requires {name!r}, which is null"
    return None


def _required(schema: dict[str, Any]) -> Iterator[str]:
    """Of the schema itself, and of what it refers to or joins."""
    waiting: list[Any] = [schema]
    for _ in range(json_schema.MAX_REFERENCES):
        part = waiting.pop(0) if waiting else None
        if not isinstance(part, dict):
            continue
        names = part.get("required")
        yield from (name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))
        joined = part.get("allOf")
        waiting += joined if isinstance(joined, list) else []
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
