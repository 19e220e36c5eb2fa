"""The values of a form's controls as one text per field: several choices, an instant with its zone, null."""

import json
import re
from collections.abc import Sequence
from typing import Any

from werkzeug.datastructures import MultiDict

from domain.values import canonical_json

# The prefix of a field's text if the box for null is ticked.
NULL = "\x00"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
TIME = re.compile(r"(\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?(Z|[+-]\d{2}:\d{2})?", re.ASCII | re.IGNORECASE)
DATE_TIME = re.compile(rf"({DATE.pattern}[T ])({TIME.pattern})", re.ASCII | re.IGNORECASE)


def sent(form: MultiDict[str, str]) -> dict[str, str]:
    """Return one text per field; several values of a name are joined by line breaks, as in the field's own text."""
    found = {name: "\n".join(value for value in values if value) for name, values in form.lists()}
    for name in [name for name in found if name.endswith("-zone")]:
        field = name.removesuffix("-zone")
        if found.get(field, "").strip():
            found[field] = with_zone(found[field], found[name])
    for name in [name for name in found if name.endswith("-null")]:
        field = name.removesuffix("-null")
        if found[name]:
            found[field] = NULL + found.get(field, "")
    return found


def with_zone(text: str, zone: str) -> str:
    """Complete a time as JSON Schema requires it: with seconds, and with this zone if the text has none."""
    clock = re.search(TIME.pattern + "$", text.strip(), re.ASCII | re.IGNORECASE)
    if clock is None:
        return text
    head = text.strip()[: clock.start()]
    return f"{head}{clock[1]}{clock[2] or ':00'}{clock[3] or zone.strip() or 'Z'}".upper()


def split_zone(text: str) -> tuple[str, str]:
    """Split the text of an instant into the control's text and its zone."""
    clock = re.search(TIME.pattern + "$", text, re.ASCII | re.IGNORECASE)
    if clock is None or clock[3] is None:
        return text, "Z"
    return text[: -len(clock[3])].replace(" ", "T"), clock[3]


def choices_of(schema: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the values that the schema lists, each as JSON and as displayed; empty if it lists none."""
    if schema.get("type") == "boolean" and "enum" not in schema and "const" not in schema:
        return (("true", "Yes"), ("false", "No"))
    if schema.get("type") == "null":
        return (("null", "null"),)
    if "const" in schema:
        return ((json.dumps(schema["const"]), str(schema.get("title") or _display(schema["const"]))),)
    if isinstance(values := schema.get("enum"), list):
        return tuple((json.dumps(value), _display(value)) for value in values)
    for word in ("oneOf", "anyOf"):
        ways = schema.get(word)
        if isinstance(ways, list) and ways and all(isinstance(way, dict) and _is_choice(way) for way in ways):
            return _distinguished([choice for way in ways for choice in choices_of(way)])
    return ()


def _is_choice(schema: dict[str, Any]) -> bool:
    return "const" in schema or isinstance(schema.get("enum"), list) or schema.get("type") == "null"


def _display(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _distinguished(choices: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Append the value to each title that occurs more than once."""
    titles = [title for _, title in choices]
    return tuple((text, f"{title} ({text})" if titles.count(title) > 1 else title) for text, title in choices)


def chosen(choices: Sequence[tuple[str, str]], value: Any) -> str | None:
    """Return the choice that equals this value, with 1.0 equal to 1; None if there is none."""
    wanted = canonical_json.digest(value)
    return next((text for text, _ in choices if canonical_json.digest(json.loads(text)) == wanted), None)
