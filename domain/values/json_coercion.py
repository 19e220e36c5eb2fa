"""Coercion of a model's JSON to its schema: numbers, booleans and whole values that the model put in quotes.

A value changes only where the schema allows one reading. The text "12" becomes the number 12 where a number is allowed
and a text is not. Everything else stays as it is, and the schema judges it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import jsonschema_rs

from domain.values import canonical_json, json_schema
from domain.values.schema_dialects import modern

# Steps of reading and of checking the readings: some tenths of a second at most.
MAX_WORK = 200_000
# The spelling of JSON, with no more digits than a double keeps.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,30}([eE][+-]?[0-9]{1,3})?|[eE][+-]?[0-9]{1,3})")
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
# A number may be an integer.
_INCLUDES = {"number": frozenset({"number", "integer"})}
_UNIONS = ("anyOf", "oneOf")
_ROOT = "urn:schema"
_Schema = dict[str, Any] | bool


class _LimitExceeded(Exception):
    """The reading takes more than `MAX_WORK` steps."""


def read(schema: Mapping[str, Any], value: Any) -> Any:
    """Return the value coerced to a usable schema, or unchanged. Never raises."""
    try:
        root = modern(dict(schema))
        if any(canonical_json.field_errors(value, "")) or not any(json_schema.value_errors(root, value, "")):
            return value
        # Nested quotes may hide more levels than a value may have.
        return _kept(_Reader(root).read(root, "", value), value)
    except (_LimitExceeded, RecursionError, ValueError):
        return value


class _Reader:
    """One reading. Each part of the schema comes with its pointer (`/properties/a`), its name for the validator."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # The registry rejects an `$id` that is a relative URI. All references lead inside the schema anyway.
        without_id = {key: root[key] for key in root if key != "$id"}
        self._registry = jsonschema_rs.Registry([(_ROOT, without_id)])
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        # Drafts before 2019-09 ignore the keywords beside a $ref.
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
        if "integer" in types and _INTEGER.fullmatch(text):
            return _kept(int(text), text)
        if "number" in types and _FRACTION.fullmatch(text):
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
        """Return the reading that fits its branch, if all readings that fit are equal; else the value unchanged."""
        places = [(branch, f"{pointer}/{index}") for index, branch in enumerate(branches)]
        readings = [(place, self.read(branch, place, value)) for branch, place in places]
        plain = canonical_json.encode(value)
        if all(canonical_json.encode(reading) == plain for _, reading in readings):
            return value
        fitting = {canonical_json.encode(reading): reading for place, reading in readings if self._fits(place, reading)}
        (found, *others) = fitting.values() or [value]
        return value if others else found

    def _types(self, schema: _Schema) -> frozenset[str]:
        """Return the types that may be allowed here. Keywords that are not read could only exclude some of them."""
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
            yield frozenset().union(*(_INCLUDES.get(name, {name}) for name in names))
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
        # A part never has more places than the whole schema.
        self._spend(self._places * json_schema.weight(value))
        return self._validators[pointer].is_valid(value)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise _LimitExceeded


def _types_of(value: Any) -> frozenset[str]:
    if isinstance(value, float):
        return _INCLUDES["number"]
    names = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return frozenset({names.get(type(value), "null")})


def _kept(found: Any, value: Any) -> Any:
    """Return what was found, or the value if JSON readers would not agree on what was found."""
    return value if any(canonical_json.field_errors(found, "")) else found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the object has a duplicate key")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _escaped(name: str) -> str:
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~")
