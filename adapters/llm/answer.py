"""Whether what a model submitted is an answer: sloppily written JSON is read where its meaning is plain."""

from collections.abc import Mapping
from typing import Any

from domain import json_value, sloppy
from domain.answer import value_faults
from domain.step import Error

# Of what is wrong with an answer, in a row and in a message to the model.
_MAX_TEXT = 2000


class Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.error = Error(code, message)


def read(schema: Mapping[str, Any], value: Any) -> Any:
    """The value as the schema means it. Raises `Refused`."""
    if not value and schema.get("required"):
        raise Refused("EMPTY_STRUCTURED_RESULT", f"the answer is empty, but needs {', '.join(schema['required'])}")
    read = sloppy.read(schema, value)
    if json_value.size(read) > json_value.MAX_BYTES:
        kib = json_value.MAX_BYTES // 1024
        raise Refused("OUTPUT_SCHEMA_VALIDATION_FAILED", f"the output is larger than {kib} KiB")
    found = [*value_faults(dict(schema), read, "output")]
    if found:
        text = "; ".join(f"{fault.path} {fault.message}" for fault in found)
        raise Refused("OUTPUT_SCHEMA_VALIDATION_FAILED", text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…")
    return read
