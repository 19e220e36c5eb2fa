"""YAML is read as JSON's values and nothing else; what would surprise is refused with its line."""

import json
from typing import Any

import pytest

from adapters.yaml_text import MAX_LENGTH, read_documents, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 'y', \"z\"]\nf:", {"a": 1, "b": ["x", "y", "z"], "f": None}),
        ("c: {d: null, e: ~}", {"c": {"d": None, "e": None}}),
        ("a: true\nb: false\nc: -1.5e3", {"a": True, "b": False, "c": -1500.0}),
        ("a: no\nb: on\nc: 12:30", {"a": "no", "b": "on", "c": "12:30"}),
        ("d: 010\ne: 0x10\nf: 1_000", {"d": 10, "e": "0x10", "f": "1_000"}),
        ('a: "1"\nb: \'true\'\nc: "2026-01-01"', {"a": "1", "b": "true", "c": "2026-01-01"}),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("---\na: 1\n", {"a": 1}),
        ("a: 1.0.0", {"a": "1.0.0"}),
        ("a: ${ENV:TOKEN}", {"a": "${ENV:TOKEN}"}),
    ],
)
def test_what_is_read(text: str, value: Any) -> None:
    assert read_yaml(text) == value


def test_json_is_yaml() -> None:
    value = {"a": [1, 2.5, True, None, 'é\n"\\'], "b": {"c": {}}}
    assert read_yaml(json.dumps(value)) == value
    assert read_yaml(json.dumps(value, indent=2)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: 2", "line 1: anchors"),
        ("a: 1\nb: *x", "line 2: anchors"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: tags"),
        ("a: !!str 1", "line 1: tags"),
        ("a: 1\na: 2", "line 2: 'a' occurs twice"),
        ("1: a", "line 1: a key is not a string"),
        ("[a]: 1", "line 1: a key is not a string"),
        ("a:\n  b: 2026-01-01", "line 2: 2026-01-01 is a date"),
        ("a: .nan", "line 1: .nan is a number"),
        ("a: 1e999", "line 1: 1e999 is a number"),
        ("a: [1", "line "),
        ("a: b: c", "line 1: "),
        ("a: 1\n---\nb: 2", "has 2 documents"),
        ("", "has 0 documents"),
        ("[" * 100, "nested deeper"),
        ("a: \x07", ""),
        ("x" * (MAX_LENGTH + 1), "is longer than"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_yaml(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_documents() -> None:
    assert list(read_documents("a: 1\n---\n---\nb: 2\n...\n")) == [{"a": 1}, {"b": 2}]


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(ValueError, match="anchors and aliases"):
        read_yaml("\n".join(lines))
