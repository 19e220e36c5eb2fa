"""Ids sort by time, and only the exact spelling of one is one."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import ids

milliseconds = st.integers(0, 2**48 - 1)
bits = st.integers(0, 2**74 - 1)


@given(milliseconds, bits)
@settings(database=None)
def test_uuid7_is_one_by_the_book(at: int, random_bits: int) -> None:
    """Version 7, variant 10, the time in front, and every random bit kept (RFC 9562, 5.7)."""
    made = ids.uuid7(at, random_bits)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == at
    high, low = made.int >> 64 & 0xFFF, made.int & 2**62 - 1
    assert high * 2**62 + low == random_bits


@given(milliseconds, milliseconds, bits, bits)
@settings(database=None)
def test_ids_sort_by_time(one: int, other: int, bits_1: int, bits_2: int) -> None:
    """As numbers and as text, whatever the random part."""
    if one < other:
        first, second = ids.uuid7(one, bits_1), ids.uuid7(other, bits_2)
        assert first < second
        assert ids.text(ids.WATCH, first) < ids.text(ids.WATCH, second)


@given(st.uuids())
@settings(database=None)
def test_text_and_back(id_: UUID) -> None:
    """And no prefix passes for another."""
    for prefix in (ids.WATCH, ids.MESSAGE, ids.DELIVERY, ids.ENDPOINT, ids.KEY):
        assert ids.parse(prefix, ids.text(prefix, id_)) == id_
        assert ids.parse(prefix, ids.text("xyz_", id_)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wch_",
        "wch_" + "0" * 31,
        "wch_" + "0" * 33,
        "wch_" + "A" * 32,
        "wch_" + "g" * 32,
        "wch_" + "٠" * 32,
        "wch_" + "0" * 32 + "\n",
        " wch_" + "0" * 32,
        "WCH_" + "0" * 32,
        "0" * 32,
        "wch_00000000-0000-0000-0000-000000000000",
    ],
)
def test_not_an_id(text: str) -> None:
    """One row, one spelling."""
    assert ids.parse(ids.WATCH, text) is None
