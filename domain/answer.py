"""The JSON Schema of what a reviewer must answer: checked when the agent posts it, and when the reviewer answers."""

from collections.abc import Iterator
from typing import Any, NoReturn

import jsonschema_rs

from domain.errors import Fault


def schema_faults(schema: dict[str, Any]) -> Iterator[Fault]:
    try:
        _validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        yield Fault("responseSchema", f"is not a JSON Schema that can be used: {_first_line(error)}")


def answer_faults(schema: dict[str, Any], answer: object) -> Iterator[Fault]:
    for error in _validator(schema).iter_errors(answer):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        yield Fault(f"response{path}", error.message[:500])


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    # The schema comes from an agent: references are never fetched, and patterns run on an engine without backtracking.
    return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the schema, and references are not fetched")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:500]
