"""The check of a submitted answer. Malformed JSON is read if it has only one meaning."""

import asyncio
from collections.abc import Mapping
from typing import Any

from domain.sagas.step import Error
from domain.values import canonical_json, json_coercion
from domain.values.json_schema import places, value_errors

# Characters of an answer's errors, in a row and in a message to the model.
_MAX_TEXT = 2000
# Places of the schema times bytes of the answer, at most, for a check on the loop. Two bytes may be a value, even
# in quotes. A value costs 30 µs for each place, so other requests wait 150 ms at worst. Mostly they wait for less than
# a thread costs.
_AT_ONCE = 10_000


class SubmissionRefused(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.error = Error(code, message)


async def read_aside(schema: Mapping[str, Any], value: Any) -> Any:
    """Run `read`, in a thread if it may take long, so that the loop serves other requests and tool calls."""
    if places(dict(schema)) * canonical_json.size(value) <= _AT_ONCE:
        return read(schema, value)
    return await asyncio.to_thread(read, schema, value)


def read(schema: Mapping[str, Any], value: Any) -> Any:
    """Return the value as the schema means it. Raises `SubmissionRefused`."""
    if not value and schema.get("required"):
        raise SubmissionRefused(
            "EMPTY_STRUCTURED_RESULT", f"the answer is empty, but needs {', '.join(schema['required'])}"
        )
    read = json_coercion.read(schema, value)
    if canonical_json.size(read) > canonical_json.MAX_BYTES:
        kib = canonical_json.MAX_BYTES // 1024
        raise SubmissionRefused("OUTPUT_SCHEMA_VALIDATION_FAILED", f"the output is larger than {kib} KiB")
    found = [*value_errors(dict(schema), read, "output")]
    if found:
        text = "; ".join(f"{field_error.path} {field_error.message}" for field_error in found)
        raise SubmissionRefused(
            "OUTPUT_SCHEMA_VALIDATION_FAILED", text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
        )
    return read
