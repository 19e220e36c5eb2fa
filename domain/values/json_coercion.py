"""A model's JSON, read as it was meant: numbers, truth and whole values that it put in quotes.

Only what the schema cannot mean otherwise is changed: the text "12" is the number 12 where a number may stand and a
text may not. Everything else stays as it is, for the schema to judge.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import jsonschema_rs

from domain.values import canonical_json, json_schema
from domain.values.schema_dialects import modern

# Steps of reading and of checking what was read: some tenths of a second at the most.
MAX_WORK = 200_000
# As JSON writes them: a whole number, and one that is not written as such. No more digits than a double keeps.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_BROKEN = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,30}([eE][+-]?[0-9]{1,3})?|[eE][+-]?[0-9]{1,3})")
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
# A number may be whole.
_ALSO = {"number": frozenset({"number", "integer"})}
_UNIONS = ("anyOf", "oneOf")
_ROOT = "urn:schema"
_Schema = dict[str, Any] | bool


class _LimitExceeded(Exception):
    """More work than an answer is worth."""


def read(schema: Mapping[str, Any], value: Any) -> Any:
    """The value with what was meant by it, or as it is. `schema` is a usable one. Never raises."""
    try:
        root = modern(dict(schema))
        if any(canonical_json.field_errors(value, "")) or not any(json_schema.value_errors(root, value, "")):
            return value
        # Quotes inside of quotes may hide more levels than a value may have.
        return _kept(_Reader(root).read(root, "", value), value)
    except (_LimitExceeded, RecursionError, ValueError):
        return value


class _Reader:
    """One reading. A place in the schema is passed with its pointer, `/properties/a`, by which it can be checked."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # A name of its own may be half a URI, which a registry does not take; references in it lead inside anyway.
        nameless = {key: root[key] for key in root if key != "$id"}
        self._registry = jsonschema_rs.Registry([(_ROOT, nameless)])
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        # Before 2019-09 nothing counts beside a $ref.
        self._reference_alone = re.search(r"draft-0[67]", str(root.get("$schema"))) is not None
        self._places = json_schema.places(root)
        self._work = 0

    def read(self, schema: _Schema, pointer: str, value: Any) -> Any:
        self._spend(1)
        if not isinstance(schema, dict):
            return value
        if isinstance(value, str):
            value = self._text(value, self._types(schema))
        if not isinstance(value, dict | list):
            return value
        if isinstance(reference := schema.get("$ref"), str):
            value = self.read(json_schema.resolve(self._root, reference), reference[1:], value)
            if self._reference_alone:
                return value
        for index, part in enumerate(schema.get("allOf", ())):
            value = self.read(part, f"{pointer}/allOf/{index}", value)
        value = self._object(schema, pointer, value) if isinstance(value, dict) else self._array(schema, pointer, value)
        for name in _UNIONS:
            value = self._union(schema.get(name, ()), f"{pointer}/{name}", value)
        return value

    def _text(self, text: str, types: frozenset[str]) -> Any:
        if "string" in types:
            return text
        if "boolean" in types and text in ("true", "false"):
            return text == "true"
        if "integer" in types and _WHOLE.fullmatch(text):
            return _kept(int(text), text)
        if "number" in types and _BROKEN.fullmatch(text):
            return _kept(float(text), text)
        if text.lstrip()[:1] in ("{", "["):
            self._spend(len(text) // json_schema.TEXT_UNIT)
            found = _parsed(text)
            if found is not None and ("object" if isinstance(found, dict) else "array") in types:
                return _kept(found, text)
        return text

    def _object(self, schema: dict[str, Any], pointer: str, value: dict[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True) if "patternProperties" not in schema else True
        found = {}
        for name, item in value.items():
            if name in properties:
                found[name] = self.read(properties[name], f"{pointer}/properties/{_escaped(name)}", item)
            else:
                found[name] = self.read(rest, f"{pointer}/additionalProperties", item)
        return found

    def _array(self, schema: dict[str, Any], pointer: str, value: list[Any]) -> list[Any]:
        first = schema.get("prefixItems", ())
        rest = schema.get("items", True)
        return [
            self.read(first[index], f"{pointer}/prefixItems/{index}", item)
            if index < len(first)
            else self.read(rest, f"{pointer}/items", item)
            for index, item in enumerate(value)
        ]

    def _union(self, branches: list[_Schema], pointer: str, value: Any) -> Any:
        """Read as the one branch wants it: that of which the reading fits, where those that fit agree."""
        places = [(branch, f"{pointer}/{index}") for index, branch in enumerate(branches)]
        readings = [(place, self.read(branch, place, value)) for branch, place in places]
        plain = canonical_json.encode(value)
        if all(canonical_json.encode(reading) == plain for _, reading in readings):
            return value
        fitting = {canonical_json.encode(reading): reading for place, reading in readings if self._fits(place, reading)}
        (found, *others) = fitting.values() or [value]
        return value if others else found

    def _types(self, schema: _Schema) -> frozenset[str]:
        """What may stand here at most: keywords that are not looked at could only take from it."""
        self._spend(1)
        if not isinstance(schema, dict):
            return _TYPES if schema else frozenset()
        found = _TYPES
        if isinstance(reference := schema.get("$ref"), str):
            found = self._types(json_schema.resolve(self._root, reference))
            if self._reference_alone:
                return found
        return found.intersection(*self._limits(schema))

    def _limits(self, schema: dict[str, Any]) -> Iterator[frozenset[str]]:
        if "type" in schema:
            names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
            yield frozenset().union(*(_ALSO.get(name, {name}) for name in names))
        if "enum" in schema:
            yield frozenset().union(*(_types_of(value) for value in schema["enum"]))
        if "const" in schema:
            yield _types_of(schema["const"])
        yield from (self._types(part) for part in schema.get("allOf", ()))
        for name in _UNIONS:
            if name in schema:
                yield frozenset().union(*(self._types(part) for part in schema[name]))

    def _fits(self, pointer: str, value: Any) -> bool:
        if pointer not in self._validators:
            dialect = {"$schema": self._root["$schema"]} if "$schema" in self._root else {}
            self._validators[pointer] = json_schema.validator(dialect | {"$ref": f"{_ROOT}#{pointer}"}, self._registry)
        # Never more places than the whole has.
        self._spend(self._places * json_schema.weight(value))
        return self._validators[pointer].is_valid(value)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise _LimitExceeded


def _types_of(value: Any) -> frozenset[str]:
    if isinstance(value, float):
        return _ALSO["number"]
    names = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return frozenset({names.get(type(value), "null")})


def _kept(found: Any, value: Any) -> Any:
    """What was found, or the value where JSON readers would not agree on it."""
    return value if any(canonical_json.field_errors(found, "")) else found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _escaped(name: str) -> str:
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~")
