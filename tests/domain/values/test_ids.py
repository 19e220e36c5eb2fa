"""Ids sort by time, and only the exact spelling of one is one."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.values import ids

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
bits = st.integers(0, 2**62 - 1)


@given(instants, bits)
@settings(database=None)
def test_uuid7_is_one_by_the_book(at: datetime, random_bits: int) -> None:
    """Version 7, variant 10, milliseconds and their fraction in front, and every random bit kept (RFC 9562)."""
    made = ids.uuid7(at, random_bits)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    milliseconds, rest = divmod((at - EPOCH) // MICROSECOND, 1000)
    assert made.int >> 80 == milliseconds
    assert (made.int >> 64 & 0xFFF) == int(rest / 1000 * 4096)
    assert made.int & 2**62 - 1 == random_bits


@given(instants, st.sampled_from([1, 2, 999, 1000, 10**9]), bits, bits)
@settings(database=None)
def test_ids_sort_by_time(at: datetime, microseconds: int, bits_1: int, bits_2: int) -> None:
    """To the microsecond, as numbers and as text, whatever the random part: lists are in the order of ids."""
    first, second = ids.uuid7(at, bits_1), ids.uuid7(at + microseconds * MICROSECOND, bits_2)
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
