"""How long a call waits that could not be sent."""

from datetime import timedelta

import pytest

from domain.sagas.outcome import postponement


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 3), (3, 8), (4, 20)])
def test_waits_grow_with_a_jitter_of_a_fifth(attempt: int, seconds: float) -> None:
    assert postponement(attempt, 0.0) == timedelta(seconds=seconds * 0.8)
    assert postponement(attempt, 0.5) == timedelta(seconds=seconds)
    assert postponement(attempt, 1.0) == timedelta(seconds=seconds * 1.2)


def test_in_the_end_it_is_not_tried_again() -> None:
    assert postponement(5, 0.5) is None
