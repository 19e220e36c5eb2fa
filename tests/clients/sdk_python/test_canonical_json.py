"""The SDK's canonical JSON has the server's digests, and admits only what the server stores unchanged."""

import math
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sagahold import canonical_json

from domain.values import canonical_json as server

NUMBERS = [0.0, -0.0, 1e21, 1e20, 123456789012345680000.0, 1e-6, 1e-7, 0.1, 5e-324, 1.7976931348623157e308, 100.0, 1e22]
TEXTS = ["", "é", "\u2028", '\x1f\x7f"\\/\b\f\n', "😀", "דּ", "\x80", "€", "\r", "\ufeff"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(JSON)
@example({text: index for index, text in enumerate(TEXTS)})
@example([[text] for text in TEXTS])
@example({"numbers": NUMBERS, "negative": [-number for number in NUMBERS]})
@example([True, 1, 1.0, None, [], {}, {"": {"": []}}])
def test_digests_are_those_of_the_server(value: Any) -> None:
    assert canonical_json.digest(value) == server.digest(value).hex()


@given(st.binary(min_size=8, max_size=8))
def test_every_float_has_the_digits_of_the_server(bits: bytes) -> None:
    (number,) = struct.unpack("<d", bits)
    if math.isfinite(number):
        assert canonical_json.digest(number) == server.digest(number).hex()


@pytest.mark.parametrize("spelled_out", [10**22, -(10**22), 2**53, 2**60 + 2**10, 10**300])
def test_a_float_that_a_writer_has_spelled_out(spelled_out: int) -> None:
    """PostgreSQL returns 1e22 as an integer."""
    assert canonical_json.digest(spelled_out) == canonical_json.digest(float(spelled_out))
    assert canonical_json.digest(spelled_out) == server.digest(spelled_out).hex()


def test_a_known_vector() -> None:
    """The example of RFC 8785, 3.2.3 and its appendix."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "€$\x0f\nA'B\"\\",
    }
    expected = '{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\"}'
    assert canonical_json.dumps(value) == expected


class _Text(str):
    pass


DEEP: list[Any] = []
DEEP.append(DEEP)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ((1, 2), "argument a is a tuple"),
        ({"b": [1, {"c": {1, 2}}]}, "argument a.b[1].c is a set"),
        ({"b": {1: 2}}, "argument a.b has the key 1"),
        (b"x", "argument a is a bytes"),
        (object(), "argument a is a object"),
        (_Text("x"), "argument a is a _Text"),
        (math.nan, "argument a is nan"),
        ([math.inf], "argument a[0] is inf"),
        (2**53, "argument a is an integer beyond"),
        ("\ud800", "argument a contains NUL or a lone surrogate"),
        ({"x\x00": 1}, "argument a (a key) contains NUL"),
        (DEEP, "is nested deeper than 64 levels"),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(TypeError) as raised:
        canonical_json.snapshot(value, "argument a")
    assert place in str(raised.value)


def test_a_snapshot_is_deep_and_keeps_kinds() -> None:
    value: dict[str, Any] = {"a": [1.0, 1, True, None, "x"]}
    copied = canonical_json.snapshot(value, "argument")
    value["a"].append("later")
    assert repr(copied) == "{'a': [1.0, 1, True, None, 'x']}"


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"a":1,"a":2}', b"[NaN]", b"[-Infinity]", b"\xff", b"[" * 200_000])
def test_the_reader_is_strict(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        canonical_json.loads(text)
