"""A form for a JSON Schema: the fields that a person fills in, and the value that they send.

An unchanged field leaves its part of the value as it is. A form therefore never alters by accident what it cannot hold
exactly, such as 1.0, a line end or an absent name. A value without a simple field is edited as JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.dashboard.display.form_values import DATE, DATE_TIME, NULL, TIME, choices_of, chosen, with_zone
from app.dashboard.display.value_text import pretty
from app.http.json_body import MAX_DIGITS, read_text
from domain.values import json_schema
from domain.values.confusables import hides
from domain.values.errors import FieldError, Invalid

# An object with more fields is edited as JSON.
MAX_FIELDS = 100
# A text that may be longer gets a text area.
ONE_LINE = 80
Choices = tuple[tuple[str, str], ...]
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_SIMPLE = {"string": str, "integer": int, "number": int | float, "boolean": bool}


class Kind(StrEnum):
    TEXT = "text"
    LONG = "long"
    INTEGER = "integer"
    NUMBER = "number"
    CHOICE = "choice"
    CHOICES = "choices"
    LINES = "lines"
    DATE = "date"
    TIME = "time"
    INSTANT = "date-time"
    JSON = "json"
    GROUP = "group"


# The control for each `format`, with the texts that it can show.
_INSTANTS = {"date": (Kind.DATE, DATE), "time": (Kind.TIME, TIME), "date-time": (Kind.INSTANT, DATE_TIME)}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form.

    Attributes:
        name: the name of the input.
        path: the path in field errors, like `response.address.city`.
        keys: the path to the value.
        text: the contents.
        required: the value must be present.
        help_text: the schema's description and limits.
        choices: the allowed values, each as JSON and as displayed.
        fields: the fields of a group.
        entry: the type of the entries of a list with one entry per line.
    """

    name: str
    path: str
    label: str
    kind: Kind
    keys: tuple[str, ...]
    text: str = ""
    required: bool = False
    nullable: bool = False
    help_text: str = ""
    choices: Choices = ()
    fields: tuple["Field", ...] = ()
    entry: str = "string"

    @property
    def zoned(self) -> bool:
        return self.kind in (Kind.TIME, Kind.INSTANT)


_ABSENT = object()
# Levels of nested objects whose defaults fill a new form.
_DEFAULTS = 8


def fields_of(schema: Mapping[str, Any], value: Any, place: str, prefix: str) -> tuple[Field, ...]:
    """Return the fields of a form for the schema.

    Args:
        value: the contents of the fields; None leaves them empty.
        place: the value's name in the paths of errors.
        prefix: the prefix of the inputs' names.
    """
    root = _plain(json_schema.inlined(dict(schema)))
    if _is_object(root) and len(root["properties"]) <= MAX_FIELDS and isinstance(value, dict | None):
        return tuple(_properties(root, value or {}, place, prefix, (), 0))
    return (_field(root, _ABSENT if value is None else value, place, prefix, "", (), 1, required=True),)


def defaults(schema: Mapping[str, Any]) -> Any:
    """Return the schema's default value for a new form; None without one."""
    found = _default(_plain(json_schema.inlined(dict(schema))), 0)
    return None if found is _ABSENT else found


def _default(schema: dict[str, Any], level: int) -> Any:
    if not _is_object(schema) or level > _DEFAULTS:
        return schema.get("default", _ABSENT)
    own = schema.get("default")
    inner = {name: _default(_plain(part), level + 1) for name, part in schema["properties"].items()}
    found = {name: part for name, part in inner.items() if part is not _ABSENT} | (own if isinstance(own, dict) else {})
    # An optional part stays absent if its defaults would leave it incomplete.
    complete = all(name in found for name in schema.get("required", ()))
    return found if level == 0 or (found and complete) else _ABSENT


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type", "object") == "object" and isinstance(schema.get("properties"), dict)


def _plain(schema: Any) -> dict[str, Any]:
    """Remove the wrapping that schema generators put around a reference or an optional type."""
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
    label = str(schema.get("title") or key or "Response")
    kind, choices = _kind(schema, value, level)
    if kind is Kind.GROUP:
        inner = {} if value is _ABSENT else value
        fields = tuple(_properties(schema, inner, path, name, keys, level + 1))
        return Field(name, path, label, kind, keys, required=required, help_text=_help_text(schema), fields=fields)
    nullable = bool(schema.get("nullable")) and kind is not Kind.JSON
    if nullable and kind is Kind.CHOICE and "null" not in dict(choices):
        choices = (*choices, ("null", "null"))
    text = _text(value, kind, choices)
    entry = str(_plain(schema.get("items")).get("type", "string"))
    return Field(name, path, label, kind, keys, text, required, nullable, _help_text(schema), choices, entry=entry)


def _kind(schema: dict[str, Any], value: Any, level: int) -> tuple[Kind, Choices]:
    choices = choices_of(schema)
    if choices and (value is _ABSENT or _is_null(schema, value) or chosen(choices, value) is not None):
        return Kind.CHOICE, choices
    if _is_object(schema) and level == 0 and (value is _ABSENT or isinstance(value, dict)):
        return (Kind.GROUP if 0 < len(schema["properties"]) <= MAX_FIELDS else Kind.JSON), ()
    named = schema.get("type")
    if named == "array":
        return _list_kind(schema, value)
    fits = value is _ABSENT or _is_null(schema, value)
    if named not in ("string", "integer", "number") or choices or not (fits or _is_a(value, named)):
        return Kind.JSON, ()
    return (Kind(named) if named != "string" else _text_kind(schema, value)), ()


def _is_null(schema: dict[str, Any], value: Any) -> bool:
    return value is None and bool(schema.get("nullable"))


def _text_kind(schema: dict[str, Any], value: Any) -> Kind:
    text = value if isinstance(value, str) else ""
    if hides(text):
        # An input would hide the characters or send them back changed.
        return Kind.JSON
    kind = _INSTANTS.get(str(schema.get("format")))
    if kind is not None and (not text or kind[1].fullmatch(text)):
        return kind[0]
    several = schema.get("format") in ("textarea", "multiline") or "contentMediaType" in schema
    lines = "\n" in text or len(text) > ONE_LINE or schema.get("maxLength", 0) > ONE_LINE or several
    return Kind.LONG if lines else Kind.TEXT


def _list_kind(schema: dict[str, Any], value: Any) -> tuple[Kind, Choices]:
    """Return the kind of field for a list; JSON if a simple field would not return the same list."""
    entry = _plain(schema.get("items"))
    given = [] if value is _ABSENT else value
    if not isinstance(given, list) or "prefixItems" in schema or entry.get("nullable"):
        return Kind.JSON, ()
    if choices := choices_of(entry):
        texts = [chosen(choices, each) for each in given]
        fits = None not in texts and len(set(texts)) == len(texts)
        return (Kind.CHOICES, choices) if fits else (Kind.JSON, ())
    named = entry.get("type")
    if named not in ("string", "integer", "number") or not all(_is_a(each, named) for each in given):
        return Kind.JSON, ()
    texts_fit = named != "string" or all(
        each == each.strip() != "" and not hides(each) and "\n" not in each for each in given
    )
    return (Kind.LINES if texts_fit else Kind.JSON), ()


def _is_a(value: Any, named: str) -> bool:
    return isinstance(value, _SIMPLE[named]) and not (isinstance(value, bool) and named != "boolean")


def _help_text(schema: dict[str, Any]) -> str:
    parts = [str(schema["description"])] if schema.get("description") else []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        parts.append(f"from {low}" if high is None else f"up to {high}" if low is None else f"{low} to {high}")
    if "maxLength" in schema:
        parts.append(f"at most {schema['maxLength']} characters")
    if "format" in schema:
        parts.append(f"format: {schema['format']}")
    return " · ".join(parts)


def _text(value: Any, kind: Kind, choices: Choices) -> str:
    if value is _ABSENT:
        return ""
    if kind is Kind.JSON:
        return pretty(value)
    if kind is Kind.CHOICE:
        return chosen(choices, value) or "null"
    if value is None:
        return NULL
    if kind is Kind.CHOICES:
        return "\n".join(chosen(choices, each) or "" for each in value)
    if kind is Kind.LINES:
        return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in value)
    return json.dumps(value) if kind in (Kind.INTEGER, Kind.NUMBER) else str(value)


def read(fields: tuple[Field, ...], given: Mapping[str, str], value: Any) -> tuple[Any, list[FieldError]]:
    """Return the form's value and the errors in it. `value` is the value that filled the fields."""
    if len(fields) == 1 and not fields[0].keys:
        return _read_whole(fields[0], given, value)
    field_errors: list[FieldError] = []
    found = _read_into(fields, given, value or {}, field_errors)
    return found, field_errors


def _read_whole(field: Field, given: Mapping[str, str], value: Any) -> tuple[Any, list[FieldError]]:
    text = given.get(field.name, field.text)
    if _unchanged(field, text):
        return value, [
            FieldError(field.path, "is required")
        ] if field.text == "" and field.kind is not Kind.CHOICES else []
    try:
        found = _parsed(field, text)
    except Invalid as invalid:
        return value, list(invalid.field_errors)
    return (value, [FieldError(field.path, "is required")]) if found is _ABSENT else (found, [])


def _read_into(
    fields: tuple[Field, ...], given: Mapping[str, str], value: dict[str, Any], field_errors: list[FieldError]
) -> dict[str, Any]:
    found = dict(value)
    for field in fields:
        key = field.keys[-1]
        if field.kind is Kind.GROUP:
            inner: list[FieldError] = []
            part = _read_into(field.fields, given, value.get(key, {}), inner)
            typed = any(not _unchanged(each, given.get(each.name, each.text)) for each in field.fields)
            if typed or part or key in value or field.required:
                found[key] = part
                field_errors += inner
            continue
        text = given.get(field.name, field.text)
        if not _unchanged(field, text) or (field.kind is Kind.CHOICES and field.required and key not in found):
            try:
                _put(found, key, _parsed(field, text))
            except Invalid as invalid:
                field_errors += invalid.field_errors
                continue
        if field.required and key not in found:
            field_errors.append(FieldError(field.path, "is required"))
    return found


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    if value is _ABSENT:
        found.pop(key, None)
    else:
        found[key] = value


def _unchanged(field: Field, given: str) -> bool:
    if field.kind is Kind.CHOICES:
        return sorted(given.split()) == sorted(field.text.split()) if field.text else not given.strip()
    if field.zoned and not given.startswith(NULL):
        return _moment(given) == _moment(field.text)
    return _lines(given) == _lines(field.text)


def _moment(text: str) -> str:
    """Normalise a time, because browsers write seconds differently."""
    return re.sub(r"(:00)?(\.0*)?(?=Z|[+-]\d{2}:\d{2}$)", "", text.strip().upper().replace(" ", "T"))


def _lines(text: str) -> str:
    """Normalise line ends, because browsers send CR LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parsed(field: Field, text: str) -> Any:
    if text.startswith(NULL):
        # Text typed into a field that was null replaces the null.
        text = text[1:] if field.text == NULL else ""
        if not text.strip():
            return None
    if not text.strip():
        return _nothing(field)
    match field.kind:
        case Kind.TEXT | Kind.LONG:
            return _lines(text)
        case Kind.DATE:
            return text.strip()
        case Kind.TIME | Kind.INSTANT:
            return with_zone(text, "Z")
        case Kind.INTEGER | Kind.NUMBER:
            return _number(field, text.strip())
        case Kind.LINES:
            lines = [line.strip() for line in _lines(text).split("\n") if line.strip()]
            return lines if field.entry == "string" else [_number(field, line) for line in lines]
        case Kind.CHOICES:
            return [_choice(field, each) for each in _lines(text).split("\n") if each]
        case Kind.CHOICE:
            return _choice(field, text)
    return read_text(text, field.path)


def _nothing(field: Field) -> Any:
    """Return the value of an empty field."""
    if field.kind in (Kind.CHOICES, Kind.LINES) and (field.required or field.text):
        return []
    return None if field.nullable and field.required and field.kind is not Kind.CHOICE else _ABSENT


def _choice(field: Field, text: str) -> Any:
    if text not in dict(field.choices):
        allowed = ", ".join(shown for _, shown in field.choices)
        if len(allowed) > json_schema.MAX_CHOICES:
            allowed = f"{allowed[: json_schema.MAX_CHOICES]}…"
        raise Invalid([FieldError(field.path, f"is not one of the choices: {allowed}")])
    return read_text(text, field.path)


def _number(field: Field, text: str) -> int | float:
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise Invalid([FieldError(field.path, "is not a number: write it like 1500 or 0.5")])
    integer = field.kind is Kind.INTEGER or field.entry == "integer"
    if integer and not text.lstrip("-").isdigit():
        raise Invalid([FieldError(field.path, "is not a whole number")])
    return int(text) if text.lstrip("-").isdigit() else float(text)
