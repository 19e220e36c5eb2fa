"""The pace of open inboxes."""

import pytest

from app.dashboard.reviews.inbox_stream import KEEP_ALIVE, MAX_INTERVAL, MIN_INTERVAL, SHARE, interval


@pytest.mark.parametrize(
    ("took", "inboxes", "seconds"),
    [
        (0.01, 1, MIN_INTERVAL),
        (0.01, 20, 2.0),
        (0.01, 40, 4.0),
        (0.05, 40, MAX_INTERVAL),
    ],
)
def test_many_inboxes_are_read_less_often(took: float, inboxes: int, seconds: float) -> None:
    """Together they take a tenth of the time, until the longest interval."""
    assert interval(took, inboxes) == pytest.approx(seconds)
    assert took * inboxes / interval(took, inboxes) <= SHARE or seconds == MAX_INTERVAL
    assert seconds <= KEEP_ALIVE
