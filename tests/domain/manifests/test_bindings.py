"""JSONPath in manifests: what a binding gives, and which paths are refused because of the work they could mean."""

from typing import Any

import pytest

from domain.manifests.bindings import MAX_LENGTH, names_of, path_error, resolve
from domain.manifests.definition import Binding

CONTEXT: dict[str, Any] = {
    "input": {"name": "Ada", "a-b": 1, "none": None, "list": [1, 2, 3], "items": [{"p": 1}, {"p": 5}], "$": {"x": 1}},
    "steps": {"pay": {"output": {"data": {"id": 7}}, "facts": {}}},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.input.name", "Ada"),
        ("$.input['a-b']", 1),
        ('$["input"]["name"]', "Ada"),
        ("$.input['$']['x']", 1),
        ("$.input.none", None),
        ("$.input.missing", None),
        ("$.input.missing.deeper", None),
        ("$.input.list", [1, 2, 3]),
        ("$.input.list[0]", 1),
        ("$.input.list[-1]", 3),
        ("$.input.list[9]", None),
        ("$.input.list[*]", [1, 2, 3]),
        ("$.input.list[1:]", [2, 3]),
        ("$.input.none[*]", []),
        ("$.input.items[*].p", [1, 5]),
        ("$.input.items[?@.p > 1]", [{"p": 5}]),
        ("$.input.items[?@.p > 1 && @.p < 9].p", [5]),
        ("$.input.items[?@.q]", []),
        ("$..id", [7]),
        ("$.steps.pay.output.data", {"id": 7}),
    ],
)
def test_what_a_path_gives(path: str, value: Any) -> None:
    """A path to one place gives its value or null; every other path gives a list, be it empty or of one."""
    assert path_error(path) is None
    assert resolve({"x": Binding(path)}, CONTEXT) == {"x": value}


def test_values_stay_as_they_are() -> None:
    bindings = {"a": Binding(value="$.input.name"), "b": Binding(value=None), "c": Binding("$.input.name")}
    assert resolve(bindings, CONTEXT) == {"a": "$.input.name", "b": None, "c": "Ada"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "is not a JSONPath"),
        ("input.name", "is not a JSONPath"),
        ("$.input.", "is not a JSONPath"),
        (" $.input", "is not a JSONPath"),
        ("$.input | $.steps", "is not a JSONPath"),
        ("$.input.~keys", "is not a JSONPath"),
        ("^$.input", "is not a JSONPath"),
        ("$.input[01]", "is not a JSONPath"),
        ("$['a','b']", "selects several places"),
        ("$[0,0][0,0][0,0]", "selects several places"),
        ("$..a..b", "more than one .."),
        ("$[?@.a][?@.b]", "more than one filter"),
        ("$[?match(@.a, '(a+)+$')]", "calls a function"),
        ("$[?length(@.a) > 1]", "calls a function"),
        ("$[?@.a == $.b]", "uses $ inside"),
        ("$[?@..a]", "reads more than one place"),
        ("$[?@[?@.a]]", "reads more than one place"),
        ("$" + ".a" * MAX_LENGTH, "more than 500 characters"),
    ],
)
def test_what_is_refused(path: str, message: str) -> None:
    field_error = path_error(path)
    assert field_error is not None
    assert message in field_error


def test_a_path_as_long_as_may_be_is_read() -> None:
    for path in ("$" + "[0]" * 166, "$[?" + "(" * 200 + "@.a" + ")" * 200 + "]", "$[?" + "!" * 400 + "@.a]"):
        path_error(path)


def test_the_names_that_a_path_begins_with() -> None:
    assert names_of("$.steps['pay'].output[0].x") == ("steps", "pay", "output")
    assert names_of("$") == ()
    assert names_of("$..steps") == ()
    assert names_of("$.input[*].x") == ("input",)
