"""JSON that means the same to every reader, and the one canonical form of it."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.values.canonical_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_PATH,
    digest,
    encode,
    encode_sorted,
    field_errors,
    size,
    text_errors,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
numbers = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(values)
@settings(database=None, deadline=None)
def test_plain_json_is_fine(value: object) -> None:
    """And counted as the bytes that it is stored in."""
    assert list(field_errors(value, "context")) == []
    assert json.loads(encode(value)) == value
    assert size(value) == len(encode(value).encode())


@given(values)
@settings(database=None, deadline=None)
def test_sorted_is_one_text_for_one_value(value: object) -> None:
    said = encode_sorted({"b": value, "a": value})
    assert said == encode_sorted({"a": value, "b": value})
    assert json.loads(said) == {"a": value, "b": value}


@pytest.mark.parametrize("write", [encode, encode_sorted])
@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": [1, "é"]}, '{"a":[1,"é"]}'), (2**64, "18446744073709551616"), ("\ud800", '"\ud800"'), (1e22, "1e+22")],
)
def test_encoded(write: Callable[[object], str], value: object, text: str) -> None:
    """Compact, and also what one library cannot write."""
    assert write(value) == text


@given(st.dictionaries(texts, values, max_size=5))
@settings(database=None, deadline=None)
def test_the_digest_is_of_the_meaning(value: dict[str, Any]) -> None:
    """Neither the order of keys nor a trip through text changes it."""
    turned = dict(reversed(list(value.items())))
    assert digest(turned) == digest(value) == digest(json.loads(json.dumps(value)))
    assert len(digest(value)) == 32
    assert digest({**value, "one more key": 1}) != digest(value)


def test_digest_is_sha256_of_rfc_8785() -> None:
    """So that anybody can compute it: keys by UTF-16, shortest numbers, no spaces."""
    text = '{"":0,"a":[1,1e+30,0.000001],"€":"é","😀":true,"\ufb33":null}'
    value = {"\ufb33": None, "😀": True, "€": "é", "a": [1.0, 1e30, 1e-6], "": -0.0}
    assert digest(value) == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("value", "path", "part"),
    [
        ({"a": [0, {"b": "x\x00"}]}, "context.a[1].b", "NUL"),
        ({"a\x00": 1}, "context (a key)", "NUL"),
        ({"a": "\ud800"}, "context.a", "surrogate"),
        ({"a": "é\udfff"}, "context.a", "surrogate"),
        ({"\ud83d": 1}, "context (a key)", "surrogate"),
        ({"a": MAX_INTEGER + 1}, "context.a", "2^53-1"),
        ({"a": -MAX_INTEGER - 1}, "context.a", "2^53-1"),
        ([10**400], "context[0]", "2^53-1"),
        ([math.nan], "context[0]", "cannot hold"),
        ([math.inf, -math.inf][:1], "context[0]", "cannot hold"),
        (nested(MAX_DEPTH + 1), "context" + "[0]" * MAX_DEPTH, "64 levels"),
    ],
)
def test_refused_with_its_place(value: object, path: str, part: str) -> None:
    """Each of these is refused or silently changed by some reader."""
    (field_error,) = field_errors(value, "context")
    assert field_error.path == path[:MAX_PATH]
    assert part in field_error.message


def test_bounds_are_inside() -> None:
    """The largest integers and the deepest nesting that are promised."""
    assert not list(field_errors([MAX_INTEGER, -MAX_INTEGER, nested(MAX_DEPTH - 1)], "context"))


def test_a_large_number_is_the_same_after_the_database() -> None:
    """PostgreSQL writes 1e22 out in full, which Python reads as an integer: that must not look like a change."""
    assert digest({"a": [1e22, True, "x", 3]}) == digest({"a": [10**22, True, "x", 3]})
    assert digest(-(10**22)) == digest(-1e22)


def test_true_is_no_number() -> None:
    """Python thinks otherwise."""
    assert digest(True) != digest(1)


def test_every_place_can_be_named() -> None:
    """A key on the way may be endless, or not fit into UTF-8. Without a name, the place is given alone."""
    found = [field_error.path for field_error in field_errors({"\ud800": {"\x00": 2**60, "k" * 1000: 2**60}}, "")]
    assert all(path.encode() and "\x00" not in path and len(path) <= MAX_PATH for path in found)
    assert "?.\ufffd" in found
    assert [field_error.path for field_error in field_errors({"a": 2**60}, "")] == ["a"]


def test_text() -> None:
    """A text on its own obeys the same law."""
    assert not list(text_errors("fine 😀", "action"))
    assert [field_error.path for field_error in text_errors("\x00", "action")] == ["action"]
