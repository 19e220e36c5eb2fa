"""A JSON Schema as a form: what is asked, and that a form which nobody touched changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.forms import Field, Kind, fields_of, read

SCHEMA = {
    "type": "object",
    "required": ["to", "amount", "urgent"],
    "properties": {
        "to": {"type": "string", "title": "Recipient", "maxLength": 60},
        "amount": {"type": "integer", "minimum": 1, "maximum": 500},
        "rate": {"type": "number"},
        "urgent": {"type": "boolean"},
        "level": {"enum": ["low", 2, None]},
        "day": {"type": "string", "format": "date"},
        "body": {"type": "string", "maxLength": 4000},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "items": {"type": "array", "items": {"type": "string"}},
        "address": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "city": {"type": "string"},
                "zip": {"type": "string"},
                "geo": {"type": "object", "properties": {"x": {"type": "number"}}},
            },
        },
    },
}
VALUE = {"to": "ada", "amount": 5, "urgent": False, "extra": [1.0], "address": {"city": "Bern", "zip": "3000"}}


def form(schema: dict[str, Any] = SCHEMA, value: Any = None) -> dict[str, Field]:
    """The fields by their paths."""
    found: dict[str, Field] = {}
    waiting = list(fields_of(schema, value, "it", "f"))
    while waiting:
        field = waiting.pop()
        found[field.path] = field
        waiting += field.fields
    return found


def filled(changes: dict[str, str], value: Any = None, schema: dict[str, Any] = SCHEMA) -> tuple[Any, list[str]]:
    """The value, and the places of faults, when the form comes back with other texts in some fields."""
    fields = form(schema, value)
    given_texts = {field.name: field.text for field in fields.values()} | {
        fields[path].name: text for path, text in changes.items()
    }
    found, faults = read(fields_of(schema, value, "it", "f"), given_texts, value)
    return found, [f"{fault.path} {fault.message}" for fault in faults]


def test_each_simple_type_has_its_field_and_the_rest_is_json() -> None:
    kinds = {path.removeprefix("it."): str(field.kind) for path, field in form().items()}
    assert kinds == {
        "to": "text",
        "amount": "integer",
        "rate": "number",
        "urgent": "choice",
        "level": "choice",
        "day": "text",
        "body": "long",
        "note": "text",
        "items": "json",
        "address": "group",
        "address.city": "text",
        "address.zip": "text",
        "address.geo": "json",
    }
    assert (form()["it.to"].label, form()["it.amount"].hint) == ("Recipient", "1 to 500")
    assert [path for path, field in form().items() if field.required and "." not in path[3:]] == [
        "it.urgent",
        "it.amount",
        "it.to",
    ]


def test_a_form_that_nobody_touched_changes_nothing() -> None:
    """Nor does it take away what it has no field for."""
    assert filled({}, VALUE) == (VALUE, [])


@given(
    st.fixed_dictionaries(
        {"to": st.text(), "amount": st.integers() | st.floats(allow_nan=False), "urgent": st.booleans()},
        optional={
            "body": st.text(),
            "level": st.sampled_from(["low", 2, None]),
            "items": st.lists(st.text()),
            "note": st.none() | st.text(),
        },
    )
)
def test_whatever_the_value_is_an_untouched_form_gives_it_back(value: dict[str, Any]) -> None:
    """Also where a browser has sent every end of a line as CR LF."""
    fields = fields_of(SCHEMA, value, "it", "f")
    sent = {field.name: field.text.replace("\n", "\r\n") for field in form(SCHEMA, value).values()}
    assert read(fields, sent, value) == (value, [])


@pytest.mark.parametrize("text", ["a\rb", "a\u202eb", "zero\u200bwidth", "\x07"])
def test_a_text_that_an_input_would_hide_or_change_is_edited_as_json(text: str) -> None:
    field = form(SCHEMA, {**VALUE, "to": text})["it.to"]
    assert field.kind is Kind.JSON
    assert field.text.isascii()
    assert filled({"it.to": '"x"'}, {**VALUE, "to": text})[0]["to"] == "x"


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("to", "Grace", "Grace"),
        ("to", " two\r\nlines ", " two\nlines "),
        ("amount", " 12 ", 12),
        ("rate", "0.5", 0.5),
        ("rate", "3", 3),
        ("rate", "1e3", 1000.0),
        ("urgent", "true", True),
        ("level", '"low"', "low"),
        ("level", "null", None),
        ("items", '["a", "b"]', ["a", "b"]),
    ],
)
def test_what_is_typed_becomes_a_value_of_its_type(path: str, text: str, value: object) -> None:
    found, faults = filled({f"it.{path}": text}, VALUE)
    assert faults == []
    assert found == {**VALUE, path: value}
    assert type(found[path]) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("amount", "a lot", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1,500", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1.5", "it.amount is not a whole number"),
        ("amount", "٣", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1" * 500, "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "", "it.amount is required"),
        ("to", "", "it.to is required"),
        ("urgent", "", "it.urgent is required"),
        ("urgent", "maybe", "it.urgent is none of the choices"),
        ("items", '["a"', "it.items is not JSON: Expecting ',' delimiter (line 1, column 5)"),
        ("items", '[{"a": 1, "a": 2}]', "it.items.a stands twice in one object: readers disagree on which one counts"),
        ("items", '["\\u0000"]', "it.items[0] contains a NUL character"),
        ("address.city", "", "it.address.city is required"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_field(path: str, text: str, fault: str) -> None:
    assert filled({f"it.{path}": text}, VALUE)[1] == [fault]


def test_what_is_emptied_is_taken_out() -> None:
    found, faults = filled({"it.address.zip": ""}, VALUE)
    assert (found["address"], faults) == ({"city": "Bern"}, [])


def test_an_optional_group_that_stays_empty_is_not_there() -> None:
    found, faults = filled({"it.to": "x", "it.amount": "1", "it.urgent": "false"}, {})
    assert (found, faults) == ({"to": "x", "amount": 1, "urgent": False}, [])
    assert filled({"it.address.zip": "3000"}, VALUE | {"address": {}})[1] == ["it.address.city is required"]


@pytest.mark.parametrize(
    ("schema", "kind", "text", "value"),
    [
        ({"type": "boolean"}, "choice", "true", True),
        ({"type": "integer"}, "integer", "7", 7),
        ({"type": "array"}, "json", "[1]", [1]),
        ({}, "json", "null", None),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["yes", "no"]}}}, "choice", '"no"', "no"),
    ],
)
def test_an_answer_that_is_no_object_is_one_field(schema: dict[str, Any], kind: str, text: str, value: object) -> None:
    (field,) = fields_of(schema, None, "response", "f")
    assert (field.kind, field.path) == (kind, "response")
    assert read((field,), {field.name: text}, None) == (value, [])
