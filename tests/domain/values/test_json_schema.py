"""The schema of what a reviewer or a model answers: neither wrong nor costly ones are taken."""

from typing import Any

import pytest

from domain.values.json_schema import MAX_FIELD_ERRORS, MAX_PLACES, MAX_REFERENCES, inlined, schema_errors, value_errors

D4 = "http://json-schema.org/draft-04/schema#"
TREE = {
    "$ref": "#/definitions/node",
    "definitions": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/definitions/node"}},
                "left": {"$ref": "#/definitions/node"},
            },
            "required": ["name"],
        }
    },
}


def doubling(levels: int) -> dict[str, Any]:
    """Few lines that mean two to the power of `levels` checks."""
    places = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**places, f"d{levels}": {"type": "object"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def chain(length: int) -> dict[str, Any]:
    places = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length - 1)}
    return {"$ref": "#/$defs/d0", "$defs": {**places, f"d{length - 1}": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"reason": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["reason"]},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}},
        {"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}},
        {"$ref": "#/allOf/0", "allOf": [{"type": "string"}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:form"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"$ref": {"type": "string"}}},
        {"enum": list(range(MAX_PLACES - 3))},
        chain(MAX_REFERENCES),
        TREE,
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"oneOf": [{"properties": {"and": {"items": {"$ref": "#"}}}}, {"properties": {"not": {"$ref": "#"}}}]},
        {"$schema": D4, "id": "urn:x", "minimum": 1, "exclusiveMinimum": True},
        {"$schema": D4, "properties": {"id": {"type": "string"}}},
    ],
)
def test_usable(schema: dict[str, Any]) -> None:
    assert list(schema_errors(schema, "responseSchema")) == []


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "strin"}, "strin"),
        (nested(3_000), "it is nested too deeply"),
        ({"pattern": "("}, "regex"),
        ({"pattern": "(?=look)"}, "regex"),
        ({"pattern": "(a{1000}){1000}"}, "regex"),
        ({"$schema": "https://example.com/mine"}, "meta-schema"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"$ref": "#anchor"}, "nothing is fetched"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"$ref": "#/allOf/3", "allOf": [{}]}, "leads nowhere"),
        ({"$ref": "#"}, "back to itself"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "back to itself without going into a part of the value"),
        ({"allOf": [{"properties": {"a": {"$ref": "#"}}}] * 2}, "two ways for one part: write out as many levels"),
        ({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"a": {"$ref": "#"}}}, "two ways for one part"),
        ({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"properties": {"a": {"$ref": "#"}}}]}}}, "two ways"),
        ({"exclusiveMinimum": True}, "without a minimum beside it: write exclusiveMinimum as a number"),
        ({"$schema": D4, "properties": {"a": {"id": "urn:x"}}}, "id inside is not supported"),
        ({"$dynamicRef": "#x"}, "not supported"),
        ({"$recursiveRef": "#"}, "not supported"),
        ({"properties": {"a": {"$id": "urn:other"}}}, "not supported"),
        (doubling(30), "places"),
        (chain(MAX_REFERENCES + 2), "refer to it directly"),
        ({"enum": list(range(MAX_PLACES))}, "places"),
    ],
)
def test_unusable(schema: dict[str, Any], part: str) -> None:
    """The post is refused, with the reason in one line, so that no reviewer's answer fails for it later."""
    (field_error,) = schema_errors(schema, "responseSchema")
    assert field_error.path == "responseSchema"
    assert part in field_error.message
    assert "\n" not in field_error.message


def costly(count: int) -> list[str]:
    """Patterns of which each takes an eighth of a megabyte once it is compiled."""
    return [rf"^\S{{1,64}}-{number}$" for number in range(count)]


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": dict.fromkeys(costly(1_900), True)},
        {"properties": {str(number): {"pattern": text} for number, text in enumerate(costly(900))}},
        {"$defs": {"a": {"allOf": [{"pattern": text} for text in costly(300)]}}, "$ref": "#/$defs/a"},
    ],
)
def test_patterns_take_together_no_longer_than_a_moment(schema: dict[str, Any]) -> None:
    """While they are compiled nothing else runs in the process: two thousand of them stopped it for six seconds."""
    (field_error,) = schema_errors(schema, "responseSchema")
    assert "use fewer or shorter ones" in field_error.message


def test_patterns_that_are_no_effort() -> None:
    same = {"allOf": [{"pattern": costly(1)[0]}] * 600}
    few = {"patternProperties": dict.fromkeys(costly(20), True)}
    short = {"properties": {f"f{number}": {"pattern": f"^[a-z]{{1,20}}{number}$"} for number in range(400)}}
    names = {"properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "string"}}}
    for schema in (same, few, short, names):
        assert list(schema_errors(schema, "responseSchema")) == []


def test_answers() -> None:
    """Every field error has its place."""
    schema = {"type": "object", "properties": {"a": {"items": {"type": "string"}}, "n": {"type": "integer"}}}
    assert not list(value_errors(schema, {"a": ["x"], "n": 3}, "response"))
    found = {field_error.path for field_error in value_errors(schema, {"a": ["x", 1], "n": "x"}, "response")}
    assert found == {"response.a[1]", "response.n"}
    assert [field_error.path for field_error in value_errors(schema, 5, "response")] == ["response"]


def test_few_errors_of_bounded_length() -> None:
    """The error describes a wrong answer and does not echo it."""
    found = list(value_errors({"items": {"type": "string"}}, [0] * 100, "response"))
    assert len(found) == MAX_FIELD_ERRORS
    (field_error,) = value_errors({"type": "string"}, {"x": ["y" * 10] * 500}, "response")
    assert len(field_error.message) <= 500


@pytest.mark.parametrize("answer", ["x" * 300_000, ["x"] * 3_000, {str(n): n for n in range(2_000)}])
def test_too_much_work_is_refused(answer: object) -> None:
    """A large answer is refused against a large schema; against a small one it is fine."""
    (field_error,) = value_errors({"enum": list(range(1_000))}, answer, "response")
    assert "too large" in field_error.message
    assert not list(value_errors({"maxLength": 400_000}, answer, "response"))


@pytest.mark.parametrize(
    "value", [{"x": {"y": 1}}, {"x": None}, {"x": {"y": "1"}}, {"x": {"y": 3}}, {"const": 1}, {"$ref": "x"}]
)
def test_without_references_it_means_the_same(value: dict[str, Any]) -> None:
    """Wherever they stand, also below names of the author's that are keywords elsewhere."""
    schema = {
        "type": "object",
        "properties": {
            "x": {"type": ["object", "null"], "properties": {"y": {"$ref": "#/$defs/small", "minimum": 1}}},
            "const": {"$ref": "#/$defs/text"},
            "$ref": {"type": "integer"},
        },
        "$defs": {"small": {"allOf": [{"$ref": "#/$defs/number"}], "maximum": 2}, "number": {"type": "integer"}}
        | {"text": {"type": "string"}},
    }
    free = inlined(schema)
    assert "#/" not in str(free)
    assert "$defs" not in free
    field_errors = [field_error.path for field_error in value_errors(schema, value, "")]
    assert [field_error.path for field_error in value_errors(free, value, "")] == field_errors


def test_a_reference_alone_is_replaced() -> None:
    assert inlined({"$ref": "#/definitions/a", "definitions": {"a": {"type": "object"}}}) == {"type": "object"}
    said = {"$ref": "#/$defs/a", "title": "A", "type": "object", "$defs": {"a": {"type": "object", "title": "B"}}}
    assert inlined(said) == {"type": "object", "title": "A"}
    more = {"$ref": "#/$defs/a", "minProperties": 2, "$defs": {"a": {"type": "object", "minProperties": 1}}}
    assert inlined(more) == {"minProperties": 2, "allOf": [{"type": "object", "minProperties": 1}]}
    free = inlined({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "object"}}})
    assert free == {"items": {"type": "object"}}


@pytest.mark.parametrize("value", [float("nan"), "\ud800", 2**53, "\x00"])
def test_what_is_no_json_for_everyone_fits_nothing(value: Any) -> None:
    (field_error,) = value_errors({}, {"a": [value]}, "output")
    assert field_error.path == "output.a[0]"


def test_values_of_the_author_are_no_references() -> None:
    schema = {
        "properties": {"a": {"const": {"$ref": "#/properties/b"}}, "b": {"enum": [{"$ref": "#/properties/a"}, 1]}}
    }
    assert inlined(schema) == schema


BAD = {
    **{
        "date": "31.02.2026",
        "date-time": "tomorrow at noon",
        "email": "not an address",
        "uri": "nope nope",
        "uuid": "1234",
    },
    **{"ipv4": "999.1.1.1", "ipv6": "x", "time": "25:99", "duration": "1 day", "hostname": "-a_", "json-pointer": "a"},
    **{"uri-reference": "\\\\a b", "iri": "x y", "regex": "(", "idn-hostname": "-"},
}
DRAFTS = [None, D4, *(f"http://json-schema.org/draft-0{number}/schema#" for number in (6, 7))]
DRAFTS += [f"https://json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")]


@pytest.mark.parametrize("draft", DRAFTS)
def test_formats_are_asserted_in_every_draft(draft: str | None) -> None:
    dialect = {} if draft is None else {"$schema": draft}
    for name, bad in BAD.items():
        schema = {**dialect, "type": "string", "format": name}
        assert not list(schema_errors(schema, "s"))
        assert list(value_errors(schema, bad, "x")), name
    assert not list(value_errors({**dialect, "format": "date"}, "2026-02-28", "x"))
    assert not list(value_errors({**dialect, "format": "my-own"}, "anything", "x"))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            TREE,
            {"name": "a", "children": [{"name": "b", "left": {"name": "c"}}]},
            {"name": "a", "children": [{"name": 1}]},
        ),
        ({"$schema": D4, "minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"maximum": 5, "exclusiveMaximum": True}, 4, 5),
        ({"maximum": 5, "exclusiveMaximum": False}, 5, 6),
        ({"type": "string", "nullable": True}, None, 1),
        ({"enum": ["a"], "nullable": True}, None, "b"),
        ({"$ref": "#/$defs/a", "nullable": True, "$defs": {"a": {"type": "string"}}}, None, 1),
        ({"properties": {"nullable": {"type": "string"}}}, {"nullable": "x"}, {"nullable": None}),
    ],
)
def test_older_and_recursive_schemas_mean_what_they_say(schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert not list(schema_errors(schema, "s"))
    assert not list(value_errors(schema, good, "x"))
    assert list(value_errors(schema, bad, "x"))


def test_a_tree_is_not_endless_without_references() -> None:
    free = inlined(TREE)
    assert free["properties"]["children"]["items"] == {}
    assert "#/" not in str(free)


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": list(range(60))},
        {"oneOf": [{"const": number, "title": f"T{number}"} for number in range(60)]},
        {"anyOf": [{"enum": list(range(30))}, {"enum": list(range(30, 60))}]},
    ],
)
def test_an_error_names_the_allowed_values(schema: dict[str, Any]) -> None:
    (field_error,) = value_errors(schema, "x", "answer")
    assert field_error.message == f"is not one of the allowed values: {', '.join(map(str, range(60)))}"


def test_up_to_a_page() -> None:
    (field_error,) = value_errors({"enum": [f"{number:0500}" for number in range(20)]}, "x", "answer")
    assert field_error.message.endswith("or 13 others")
    assert len(field_error.message) < 4_100
