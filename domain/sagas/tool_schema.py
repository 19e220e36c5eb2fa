"""The schema of a tool's arguments, frozen when its call is held for review.

The schema comes from the tool's server, so it cannot be refused. An unusable schema is omitted, and the reviewer sees
the reason.
"""

from collections.abc import Collection, Mapping
from typing import Any

from domain.sagas.step import Error
from domain.sagas.tool_arguments import KEY_ARGUMENTS
from domain.values import canonical_json, json_schema
from domain.values.errors import FieldError


def usable(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return the schema that edits are checked by, or None and the reason."""
    form = _without_key_arguments(dict(schema))
    if (
        next(canonical_json.field_errors(form, ""), None) is not None
        or canonical_json.size(form) > canonical_json.MAX_BYTES
    ):
        return None, "its schema is too large, or is not JSON that can be stored"
    if field_error := next(json_schema.schema_errors(form, "schema"), None):
        return None, f"its schema {field_error.message}"
    if json_schema.places(form) * json_schema.weight(arguments) > json_schema.MAX_WORK:
        return None, "its schema and the arguments are too large to check"
    return form, None


def domain_error(
    tool: str, form: dict[str, Any], arguments: dict[str, Any], may_be_null: Collection[str] = ()
) -> Error | None:
    """Return why the tool would reject the arguments. `may_be_null`: arguments whose null is intended."""
    intended_nulls = {f"arguments.{name}" for name in may_be_null if arguments.get(name, 0) is None}
    if field_errors := [
        field_error
        for field_error in json_schema.value_errors(form, arguments, "arguments")
        if field_error.path not in intended_nulls
    ]:
        message = f"the tool {tool!r} cannot be called with these arguments: {_words(field_errors[0])}"
        return Error("ARGUMENTS_INVALID", message, {"errors": [_document(field_error) for field_error in field_errors]})
    return None


def _without_key_arguments(schema: dict[str, Any]) -> dict[str, Any]:
    required = schema.get("required")
    if isinstance(required, list):
        # The engine fills these itself.
        return schema | {"required": [name for name in required if name not in KEY_ARGUMENTS]}
    return schema


def _words(field_error: FieldError) -> str:
    return f"{field_error.path}: {field_error.message}"


def _document(field_error: FieldError) -> dict[str, str]:
    return {"path": field_error.path, "message": field_error.message}
