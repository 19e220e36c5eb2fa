"""A JSON Schema as a form: the fields that a person fills in, and the value that comes back.

A field that comes back as it was shown leaves its part of the value alone: what a form cannot hold exactly (1.0, the
end of a line, an absent name) is changed by nobody who did not mean to. What has no simple field is edited as JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.dashboard.values import pretty
from app.json_body import MAX_DIGITS, read_text
from domain import answer
from domain.errors import Fault, Invalid
from domain.unseen import hides

# More than that is a document, not a form.
MAX_FIELDS, MAX_CHOICES = 100, 50
# A text that may be longer gets several lines.
ONE_LINE = 80
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_SIMPLE = {"string": str, "integer": int, "number": int | float, "boolean": bool}


class Kind(StrEnum):
    TEXT = "text"
    LONG = "long"
    INTEGER = "integer"
    NUMBER = "number"
    CHOICE = "choice"
    JSON = "json"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Field:
    """
    Attributes:
        name: of the input. path: as faults call the place (`response.address.city`). keys: where it is in the value.
        text: what stands in it. required: its place may not stay empty.
        hint: what the schema says of it. choices: as JSON, and as they are shown.
        fields: of a group.
    """

    name: str
    path: str
    label: str
    kind: Kind
    keys: tuple[str, ...]
    text: str = ""
    required: bool = False
    nullable: bool = False
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    fields: tuple["Field", ...] = ()


_ABSENT = object()


def fields_of(schema: Mapping[str, Any], value: Any, place: str, prefix: str) -> tuple[Field, ...]:
    """`place`: what the value is called; `prefix`: of the inputs' names. `value` fills them; None is nothing yet."""
    root = _plain(answer.inlined(dict(schema)))
    if _is_object(root) and len(root["properties"]) <= MAX_FIELDS and isinstance(value, dict | None):
        return tuple(_properties(root, value or {}, place, prefix, (), 0))
    return (_field(root, _ABSENT if value is None else value, place, prefix, "", (), 1, required=True),)


def defaults(schema: Mapping[str, Any]) -> Any:
    """The value that a new form begins with; None: nothing."""
    root = _plain(answer.inlined(dict(schema)))
    if not _is_object(root):
        return root.get("default")
    named = ((name, part) for name, part in root["properties"].items() if isinstance(part, dict) and "default" in part)
    return {name: part["default"] for name, part in named}


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type", "object") == "object" and isinstance(schema.get("properties"), dict)


def _plain(schema: Any) -> dict[str, Any]:
    """Without the wrapping that generators of schemas put around a reference or an optional type."""
    if not isinstance(schema, dict):
        return {}
    for word in ("allOf", "anyOf", "oneOf"):
        options = schema.get(word)
        if not isinstance(options, list) or "type" in schema:
            continue
        real = [option for option in options if isinstance(option, dict) and option.get("type") != "null"]
        if len(real) == 1 and (word != "allOf" or len(options) == 1):
            merged = {**real[0], **{name: part for name, part in schema.items() if name != word}}
            return _plain({**merged, "nullable": len(options) > 1})
    kinds = schema.get("type")
    if isinstance(kinds, list) and len(kinds) == 2 and "null" in kinds:
        (kind,) = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": kind, "nullable": True}
    return schema


def _properties(
    schema: dict[str, Any], value: dict[str, Any], place: str, prefix: str, keys: tuple[str, ...], level: int
) -> Iterator[Field]:
    required = schema.get("required", [])
    for number, (name, part) in enumerate(schema["properties"].items()):
        shown = value.get(name, _ABSENT)
        path, input_name = f"{place}.{name}", f"{prefix}-{number}"
        yield _field(_plain(part), shown, path, input_name, name, (*keys, name), level, required=name in required)


def _field(
    schema: dict[str, Any],
    value: Any,
    path: str,
    name: str,
    key: str,
    keys: tuple[str, ...],
    level: int,
    *,
    required: bool,
) -> Field:
    label = str(schema.get("title") or key or "Answer")
    kind, choices = _kind(schema, value, level)
    if kind is Kind.GROUP:
        inner = {} if value is _ABSENT else value
        fields = tuple(_properties(schema, inner, path, name, keys, level + 1))
        return Field(name, path, label, kind, keys, required=required, hint=_hint(schema), fields=fields)
    nullable = bool(schema.get("nullable")) and kind is not Kind.JSON
    return Field(name, path, label, kind, keys, _text(value, kind), required, nullable, _hint(schema), choices)


def _kind(schema: dict[str, Any], value: Any, level: int) -> tuple[Kind, tuple[tuple[str, str], ...]]:
    if (choices := _choices(schema)) and (value is _ABSENT or json.dumps(value) in dict(choices)):
        return Kind.CHOICE, choices
    if _is_object(schema) and level == 0 and (value is _ABSENT or isinstance(value, dict)):
        return (Kind.GROUP if 0 < len(schema["properties"]) <= MAX_FIELDS else Kind.JSON), ()
    named = schema.get("type")
    fits = value is _ABSENT or (value is None and schema.get("nullable"))
    if named not in ("string", "integer", "number") or not (fits or _is_a(value, named)):
        return Kind.JSON, ()
    if named != "string":
        return Kind(named), ()
    text = value if isinstance(value, str) else ""
    if hides(text):
        # An input would hide it, or send it back as something else.
        return Kind.JSON, ()
    lines = "\n" in text or len(text) > ONE_LINE or schema.get("maxLength", 0) > ONE_LINE
    return (Kind.LONG if lines else Kind.TEXT), ()


def _is_a(value: Any, named: str) -> bool:
    return isinstance(value, _SIMPLE[named]) and not (isinstance(value, bool) and named != "boolean")


def _choices(schema: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    if schema.get("type") == "boolean":
        return (("true", "Yes"), ("false", "No"))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or len(values) > MAX_CHOICES:
        return ()
    if any(isinstance(value, dict | list) for value in values):
        return ()
    return tuple((json.dumps(value), value if isinstance(value, str) else json.dumps(value)) for value in values)


def _hint(schema: dict[str, Any]) -> str:
    said = [str(schema["description"])] if schema.get("description") else []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        said.append(f"from {low}" if high is None else f"up to {high}" if low is None else f"{low} to {high}")
    if "maxLength" in schema:
        said.append(f"at most {schema['maxLength']} characters")
    if "format" in schema:
        said.append(f"format: {schema['format']}")
    return " · ".join(said)


def _text(value: Any, kind: Kind) -> str:
    if value is _ABSENT or (value is None and kind is not Kind.JSON and kind is not Kind.CHOICE):
        return ""
    if kind in (Kind.TEXT, Kind.LONG):
        return str(value)
    return pretty(value) if kind is Kind.JSON else json.dumps(value)


def read(fields: tuple[Field, ...], given: Mapping[str, str], value: Any) -> tuple[Any, list[Fault]]:
    """The value as the form has it, and what in the form cannot be read. `value`: the one that filled the fields."""
    if len(fields) == 1 and not fields[0].keys:
        return _read_whole(fields[0], given, value)
    faults: list[Fault] = []
    found = _read_into(fields, given, value or {}, faults)
    return found, faults


def _read_whole(field: Field, given: Mapping[str, str], value: Any) -> tuple[Any, list[Fault]]:
    if _same(given.get(field.name, field.text), field.text):
        return value, []
    try:
        found = _parsed(field, given[field.name])
    except Invalid as invalid:
        return value, list(invalid.faults)
    return None if found is _ABSENT else found, []


def _read_into(
    fields: tuple[Field, ...], given: Mapping[str, str], value: dict[str, Any], faults: list[Fault]
) -> dict[str, Any]:
    found = dict(value)
    for field in fields:
        key = field.keys[-1]
        if field.kind is Kind.GROUP:
            inner: list[Fault] = []
            part = _read_into(field.fields, given, value.get(key, {}), inner)
            typed = any(not _same(given.get(each.name, each.text), each.text) for each in field.fields)
            if typed or part or key in value or field.required:
                found[key] = part
                faults += inner
            continue
        text = given.get(field.name, field.text)
        if not _same(text, field.text):
            try:
                _put(found, key, _parsed(field, text))
            except Invalid as invalid:
                faults += invalid.faults
                continue
        if field.required and key not in found:
            faults.append(Fault(field.path, "is required"))
    return found


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    if value is _ABSENT:
        found.pop(key, None)
    else:
        found[key] = value


def _same(given: str, shown: str) -> bool:
    return _lines(given) == _lines(shown)


def _lines(text: str) -> str:
    """A browser sends every line with CR LF, whatever it was given."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parsed(field: Field, text: str) -> Any:
    if not text.strip():
        return None if field.nullable and field.required else _ABSENT
    match field.kind:
        case Kind.TEXT | Kind.LONG:
            return _lines(text)
        case Kind.INTEGER | Kind.NUMBER:
            return _number(field, text.strip())
        case Kind.CHOICE if text not in dict(field.choices):
            raise Invalid([Fault(field.path, "is none of the choices")])
    return read_text(text, field.path)


def _number(field: Field, text: str) -> int | float:
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise Invalid([Fault(field.path, "is not a number: write it like 1500 or 0.5")])
    if field.kind is Kind.INTEGER and not text.lstrip("-").isdigit():
        raise Invalid([Fault(field.path, "is not a whole number")])
    return int(text) if text.lstrip("-").isdigit() else float(text)
