"""Forms for JSON Schemas: their fields, and that an unchanged form changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from app.dashboard.display.form_values import sent
from app.dashboard.display.schema_form import Field, Kind, defaults, fields_of, read

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
        "items": {"type": "array", "items": {"type": ["string", "object"]}},
        "days": {"type": "array", "items": {"enum": ["mon", "tue", 3]}},
        "names": {"type": "array", "items": {"type": "string"}},
        "counts": {"type": "array", "items": {"type": "integer"}},
        "at": {"type": "string", "format": "date-time"},
        "from": {"type": "string", "format": "time"},
        "plan": {"oneOf": [{"const": "s", "title": "Small"}, {"const": {"n": 9}, "title": "Large"}, {"type": "null"}]},
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
    """Return the value and the field errors for a form with other texts in some fields."""
    fields = form(schema, value)
    given_texts = {field.name: field.text for field in fields.values()} | {
        fields[path].name: text for path, text in changes.items()
    }
    found, field_errors = read(fields_of(schema, value, "it", "f"), given_texts, value)
    return found, [f"{field_error.path} {field_error.message}" for field_error in field_errors]


def test_each_simple_type_has_its_field_and_the_rest_is_json() -> None:
    kinds = {path.removeprefix("it."): str(field.kind) for path, field in form().items()}
    assert kinds == {
        "to": "text",
        "amount": "integer",
        "rate": "number",
        "urgent": "choice",
        "level": "choice",
        "day": "date",
        "days": "choices",
        "names": "lines",
        "counts": "lines",
        "at": "date-time",
        "from": "time",
        "plan": "choice",
        "body": "long",
        "note": "text",
        "items": "json",
        "address": "group",
        "address.city": "text",
        "address.zip": "text",
        "address.geo": "json",
    }
    assert (form()["it.to"].label, form()["it.amount"].help_text) == ("Recipient", "1 to 500")
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
            "days": st.lists(st.sampled_from(["mon", "tue", 3, "wed"])),
            "names": st.lists(st.text()),
            "counts": st.lists(st.integers()),
            "at": st.sampled_from(["2026-01-31T08:00:00Z", "2026-01-31t08:00:00.500+02:00", "soon"]),
            "from": st.sampled_from(["08:00:00Z", "08:00:10+02:00", "soon"]),
            "plan": st.sampled_from(["s", {"n": 9.0}, None, "other"]),
            "note": st.none() | st.text(),
        },
    )
)
def test_whatever_the_value_is_an_untouched_form_gives_it_back(value: dict[str, Any]) -> None:
    """An unchanged form stays unchanged although browsers send line ends as CR LF."""
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
        ("days", '"mon"\r\n3', ["mon", 3]),
        ("names", " ann \r\n\r\nbob", ["ann", "bob"]),
        ("counts", "1\n-2", [1, -2]),
        ("day", "2026-01-31", "2026-01-31"),
        ("at", "2026-01-31T08:00", "2026-01-31T08:00:00Z"),
        ("at", "2026-01-31T08:00:05+02:00", "2026-01-31T08:00:05+02:00"),
        ("from", "08:00", "08:00:00Z"),
        ("plan", '"s"', "s"),
        ("plan", '{"n": 9}', {"n": 9}),
        ("plan", "null", None),
        ("note", "\x00", None),
    ],
)
def test_what_is_typed_becomes_a_value_of_its_type(path: str, text: str, value: object) -> None:
    found, field_errors = filled({f"it.{path}": text}, VALUE)
    assert field_errors == []
    assert found == {**VALUE, path: value}
    assert type(found[path]) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "field_error"),
    [
        ("amount", "a lot", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1,500", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1.5", "it.amount is not a whole number"),
        ("amount", "٣", "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "1" * 500, "it.amount is not a number: write it like 1500 or 0.5"),
        ("amount", "", "it.amount is required"),
        ("to", "", "it.to is required"),
        ("urgent", "", "it.urgent is required"),
        ("urgent", "maybe", "it.urgent is not one of the choices: Yes, No"),
        ("items", '["a"', "it.items is not JSON: Expecting ',' delimiter (line 1, column 5)"),
        (
            "items",
            '[{"a": 1, "a": 2}]',
            "it.items.a occurs twice in one object; JSON readers disagree on which one counts",
        ),
        ("items", '["\\u0000"]', "it.items[0] contains a NUL character: remove it"),
        ("address.city", "", "it.address.city is required"),
    ],
)
def test_unreadable_input_is_reported_at_its_field(path: str, text: str, field_error: str) -> None:
    assert filled({f"it.{path}": text}, VALUE)[1] == [field_error]


def test_what_is_emptied_is_taken_out() -> None:
    found, field_errors = filled({"it.address.zip": ""}, VALUE)
    assert (found["address"], field_errors) == ({"city": "Bern"}, [])


def test_an_optional_group_that_stays_empty_is_not_there() -> None:
    found, field_errors = filled({"it.to": "x", "it.amount": "1", "it.urgent": "false"}, {})
    assert (found, field_errors) == ({"to": "x", "amount": 1, "urgent": False}, [])
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


def test_what_the_controls_send_is_one_text() -> None:
    several = [("a", ""), ("a", '"x"'), ("a", '"y"')]
    zoned = [
        ("b", "2026-01-31T08:00"),
        ("b-zone", "+02:00"),
        ("c", "08:00"),
        ("c-zone", ""),
        ("f", ""),
        ("f-zone", "Z"),
    ]
    null = [("d", "x"), ("d-null", ""), ("d-null", "1"), ("e", "x"), ("e-null", "")]
    form = MultiDict([*several, *zoned, *null])
    found = sent(form)
    assert [found[name] for name in "abcdef"] == [
        '"x"\n"y"',
        "2026-01-31T08:00:00+02:00",
        "08:00:00Z",
        "\x00x",
        "x",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [(None, "\x00", None), (None, "\x00typed", "typed"), ("old", "\x00old", None), ("old", "", ...)],
)
def test_null_is_an_answer(value: Any, text: str, found: Any) -> None:
    given, field_errors = filled({"it.note": text}, {**VALUE, "note": value})
    assert (given.get("note", ...), field_errors) == (found, [])


def test_an_answer_that_may_be_null_is_chosen_all_the_same() -> None:
    for schema in ({"type": ["string", "null"]}, {"enum": ["a", None]}, {"type": "string", "nullable": True}):
        (field,) = fields_of(schema, None, "it", "f")
        assert [field_error.message for field_error in read((field,), {}, None)[1]] == ["is required"]
        text = "null" if field.kind is Kind.CHOICE else "\x00"
        assert read((field,), {field.name: text}, None) == (None, [])


def test_a_list_that_has_to_be_there_may_be_empty() -> None:
    schema = {"properties": {"a": {"type": "array", "items": {"enum": ["x"]}}}, "required": ["a"]}
    assert filled({}, None, schema) == ({"a": []}, [])


def test_a_form_begins_with_the_defaults_also_of_its_parts() -> None:
    inner = {"type": "object", "properties": {"b": {"default": 1}, "c": {"type": "string"}}}
    schema = {"properties": {"x": inner, "y": {**inner, "required": ["c"]}, "z": {"default": [1]}}}
    assert defaults(schema) == {"x": {"b": 1}, "z": [1]}
    assert defaults({"type": "string", "default": "a"}) == "a"
    assert defaults({"type": "string"}) is None


def test_choices_of_hundreds_stay_a_choice() -> None:
    field = form({"properties": {"a": {"enum": [f"v{number}" for number in range(300)]}}})["it.a"]
    assert (field.kind, len(field.choices)) == (Kind.CHOICE, 300)
    twins = form({"properties": {"a": {"anyOf": [{"const": 1, "title": "T"}, {"const": 2, "title": "T"}]}}})["it.a"]
    assert [said for _, said in twins.choices] == ["T (1)", "T (2)"]
