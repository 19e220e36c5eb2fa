"""A value that a model puts in quotes is read where it has only one meaning, and nowhere else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.values.json_coercion import read
from domain.values.json_schema import value_errors

NUMBER = {"type": "number"}
INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
BOOLEAN = {"type": "boolean"}
LIST = {"type": "array", "items": INTEGER}
KINDS = {
    "a": {"type": "object", "properties": {"kind": {"const": "a"}, "n": INTEGER}, "required": ["kind"]},
    "b c": {"type": "object", "properties": {"kind": {"const": "b"}, "n": TEXT}, "required": ["kind"]},
}


def of(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema, "fits": {"const": 1}}, "$defs": KINDS}


@pytest.mark.parametrize(
    ("schema", "value", "meant"),
    [
        (INTEGER, "12", 12),
        (INTEGER, "-3", -3),
        (NUMBER, "12", 12),
        (NUMBER, "1.5", 1.5),
        (NUMBER, "-2.5e3", -2500.0),
        (BOOLEAN, "true", True),
        (BOOLEAN, "false", False),
        ({"type": ["integer", "null"]}, "7", 7),
        ({"type": ["integer", "boolean"]}, "true", True),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": [0.5, 2.0]}, "2", 2),
        ({"const": 5}, "5", 5),
        ({"anyOf": [INTEGER, {"type": "null"}]}, "7", 7),
        ({"anyOf": [INTEGER, False]}, "7", 7),
        ({"allOf": [{"type": ["string", "integer"]}, {"maximum": 9, "type": ["integer", "null"]}]}, "7", 7),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        (LIST, ["1", 2], [1, 2]),
        (LIST, '["1", 2]', [1, 2]),
        ({"type": "object", "additionalProperties": INTEGER}, ' {"a": "1"}', {"a": 1}),
        ({"type": "array", "prefixItems": [INTEGER, TEXT], "items": BOOLEAN}, ["1", "1", "true"], [1, "1", True]),
        ({"allOf": [{"properties": {"n": INTEGER}}, {"required": ["n"]}]}, {"n": "5"}, {"n": 5}),
        ({"$ref": "#/$defs/a"}, {"kind": "a", "n": "5"}, {"kind": "a", "n": 5}),
        ({"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b%20c"}]}, {"kind": "a", "n": "5"}, {"kind": "a", "n": 5}),
        ({"oneOf": [LIST, {"type": "null"}]}, ["5"], [5]),
    ],
)
def test_read_as_meant(schema: Any, value: Any, meant: Any) -> None:
    """Also beside something else that does not fit, and in the older dialect."""
    assert same(read(of(schema), {"x": value}), {"x": meant})
    assert same(read(of(schema), {"x": value, "fits": 2}), {"x": meant, "fits": 2})
    assert same(read(of(schema), json.dumps({"x": value})), {"x": meant})
    for name in ("urn:mine", "https://example.com/mine", "mine.json"):
        assert same(read(of(schema) | {"$id": name}, {"x": value}), {"x": meant})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (TEXT, "12"),
        ({}, "12"),
        ({"type": ["integer", "string"]}, "12"),
        ({"enum": [1, "1"]}, "1"),
        ({"anyOf": [INTEGER, TEXT]}, "12"),
        ({"anyOf": [INTEGER, True]}, "12"),
        ({"not": TEXT}, "12"),
        ({"patternProperties": {"^b": TEXT}, "additionalProperties": INTEGER}, {"b": "12"}),
        (INTEGER, "1.5"),
        (INTEGER, "12.0"),
        (INTEGER, " 12"),
        (INTEGER, "1_000"),
        (INTEGER, "012"),
        (INTEGER, "+1"),
        (INTEGER, "١٢"),
        (INTEGER, "9007199254740992"),
        (NUMBER, "12345678901234567890"),
        (INTEGER, "1" * 5_000),
        (NUMBER, "1e999"),
        (NUMBER, "NaN"),
        (NUMBER, "Infinity"),
        (NUMBER, ""),
        (BOOLEAN, "True"),
        (BOOLEAN, "1"),
        (BOOLEAN, 1),
        (TEXT, 12),
        ({"type": "null"}, "null"),
        (LIST, "[1, 2"),
        (LIST, '{"a": 1}'),
        (LIST, "[NaN]"),
        (LIST, "[9007199254740992]"),
        (LIST, "[" + "1" * 5_000 + "]"),
        (LIST, "[" * 100_000),
        (LIST, "[" * 70 + "]" * 70),
        ({"type": "object"}, '{"a": 1, "a": 2}'),
        ({"type": "object"}, '{"a": "\\u0000"}'),
        ({"type": ["object", "string"]}, '{"a": 1}'),
        ({"anyOf": [{"properties": {"n": INTEGER}}, {"properties": {"n": TEXT}}]}, {"n": "5"}),
        ({"anyOf": [{"properties": {"n": INTEGER}}, {"properties": {"n": {"minLength": 1}}}]}, {"n": "5"}),
        ({"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b%20c"}]}, {"kind": "b", "n": "5"}),
        ({"anyOf": [{"properties": {"n": INTEGER}}, {"properties": {"n": BOOLEAN}}]}, {"n": "x"}),
        (False, "12"),
    ],
)
def test_left_as_it_is(schema: Any, value: Any) -> None:
    given = {"x": value, "fits": 2}
    assert read(of(schema), given) is given or same(read(of(schema), given), given)


def test_before_2019_nothing_counts_beside_a_reference() -> None:
    schema = of({"$ref": "#/$defs/free", "type": "integer"}) | {"$defs": {"free": {}}}
    old = schema | {"$schema": "http://json-schema.org/draft-07/schema#"}
    assert read(schema, {"x": "1", "fits": 2}) == {"x": 1, "fits": 2}
    assert read(old, {"x": "1", "fits": 2}) == {"x": "1", "fits": 2}
    inner = of({"$ref": "#/$defs/free", "properties": {"n": INTEGER}}) | {"$defs": {"free": {}}}
    old = inner | {"$schema": "http://json-schema.org/draft-07/schema#"}
    assert read(inner, {"x": {"n": "1"}, "fits": 2}) == {"x": {"n": 1}, "fits": 2}
    assert read(old, {"x": {"n": "1"}, "fits": 2}) == {"x": {"n": "1"}, "fits": 2}


def test_hostile_values() -> None:
    deep: Any = "1"
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {"x": deep}, {"x": float("nan")}, {"x": "\ud800"}, {"x": 10**6_000}):
        assert read(of(LIST), value) is value


def test_too_much_to_read_is_left() -> None:
    """Unions inside of unions would have everything read again and again."""
    nested: Any = INTEGER
    for _ in range(8):
        nested = {"anyOf": [nested, nested]}
    schema = {"type": "object", "properties": {"x": {"items": {"properties": {"n": nested}}}}}
    assert read(schema, {"x": [{"n": "1"}]}) == {"x": [{"n": 1}]}
    value = {"x": [{"n": "1"}] * 5_000}
    assert read(schema, value) is value


def test_no_more_levels_than_a_value_may_have() -> None:
    inner: Any = "[" * 40 + "]" * 40
    for _ in range(40):
        inner = [inner]
    lists: Any = {"type": "array"}
    for _ in range(45):
        lists = {"type": "array", "items": lists}
    value = {"x": inner, "fits": 2}
    assert read(of(lists), value) is value


def same(one: Any, other: Any) -> bool:
    """As JSON: for Python 1 is true, and 2 is 2.0."""
    return json.dumps(one) == json.dumps(other) or (one == other and "2.0" in json.dumps([one, other]))


_texts = st.sampled_from(["", "1", "-7", "1.5", "true", "[1]", '{"a": "1"}', "[", "x"])
_scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 2.0]) | _texts
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
_types = st.sampled_from(["null", "boolean", "object", "array", "number", "integer", "string"])
_leaves = (
    st.builds(lambda name: {"type": name}, _types)
    | st.builds(lambda names: {"type": names}, st.lists(_types, min_size=1, max_size=3, unique=True))
    | st.builds(lambda values: {"enum": values}, st.lists(_scalars, min_size=1, max_size=3, unique_by=json.dumps))
    | st.builds(lambda value: {"const": value}, _scalars)
    | st.sampled_from([True, False, {}, {"$ref": "#/$defs/a"}, {"minLength": 2}, {"minimum": 3}])
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "additionalProperties": inner,
            "patternProperties": st.builds(lambda schema: {"^b": schema}, inner),
            "items": inner,
            "prefixItems": several,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "type": _types,
        },
    )


# Schemas of fixed depth, because `st.recursive` spends most of its time on drawing again. 200 of these take about 2 s.
_schemas = _leaves | _larger(_leaves | _larger(_leaves))


@settings(max_examples=200, deadline=None)
@given(_schemas, _schemas, _values, _values)
def test_what_fits_is_never_changed(one: Any, other: Any, first: Any, second: Any) -> None:
    """A valid value stays even beside an invalid one, and equal input gives equal output."""
    whole = {
        "type": "object",
        "properties": {"one": one, "other": other},
        "$defs": {"a": {"type": ["array", "number"]}},
    }
    value = {"one": first, "other": second}
    found = read(whole, value)
    assert json.dumps(read(whole, value)) == json.dumps(found)
    assert found.keys() == value.keys()
    for name, schema in (("one", one), ("other", other)):
        if not any(value_errors({"allOf": [schema], "$defs": whole["$defs"]}, value[name], "")):
            assert json.dumps(found[name]) == json.dumps(value[name])


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.integers(-9, 9) | st.booleans(), lambda inner: st.lists(inner, max_size=3)))
def test_quotes_are_taken_away_again(value: Any) -> None:
    schema = {"type": "object", "properties": {"x": {"type": ["integer", "boolean", "array"]}}, "$defs": {}}
    assert same(read(schema, {"x": json.dumps(value)}), {"x": value})
