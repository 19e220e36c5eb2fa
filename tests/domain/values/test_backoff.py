"""The waits between attempts, and what a receiver may say about them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.values.backoff import JITTER, MAX_RETRY_AFTER, delay, parse_retry_after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_delay_ends_with_the_schedule() -> None:
    """None, not zero: there is no next attempt."""
    assert delay((10, 20), 1, 0.5) == 20
    assert delay((10, 20), 2, 0.5) is None
    assert delay((), 0, 0.5, retry_after=5) is None


@given(st.integers(0, 36_000), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e9)))
@settings(database=None)
def test_delay_is_bounded(seconds: int, uniform: float, retry_after: float | None) -> None:
    """At least what was asked for up to the longest step, at most that or the jittered step."""
    found = delay((seconds,), 0, uniform, retry_after)
    assert found is not None
    asked = min(retry_after or 0, MAX_RETRY_AFTER)
    assert max(seconds * (1 - JITTER), asked) - 1e-6 <= found <= max(seconds * (1 + JITTER), asked) + 1e-6


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", None),
        ("-5", None),
        ("٣", None),
        ("1" * 64, 111_111_111.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 12:00:30", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sat, 28 Feb 2026 12:00:00 GMT", 0.0),
        ("Sun, 01 Mar 0000 12:00:00 GMT", 0.0),
        ("Sun, 01 Mar 99999 12:00:00 GMT", None),
        ("Sun, 01 Mar 2026 12:00:00 +9999", None),
        ("Sun, 01 Mar 2026 12:00:00 +" + "9" * 30, None),
        ("tomorrow", None),
    ],
)
def test_parse_retry_after(header: str | None, seconds: float | None) -> None:
    """An invalid header counts as a missing one."""
    assert parse_retry_after(header, NOW) == seconds


@given(
    st.one_of(
        st.text(max_size=64), st.from_regex(r"\A(Mon, )?[0-9]{1,2} Jan [0-9]{1,5} [0-9:]{0,8} [+-]?[0-9]{0,25}\Z")
    )
)
@settings(database=None, deadline=None)
def test_no_header_breaks_it(header: str) -> None:
    """A receiver's words end in a number of seconds or in nothing, never in an error."""
    found = parse_retry_after(header, NOW)
    assert found is None or found >= 0
