"""The outcomes of a call: what a repeated call says about the earlier one, and the wait before the next try."""

from datetime import timedelta

import pytest

from domain.sagas.outcome import Done, Failed, Lost, NotSent, Outcome, TimedOut, of_repeat, postponement
from domain.sagas.step import Error

GONE = Error("TOOL_NOT_FOUND", "the server has no tool 'pay'")


def test_a_repeat_that_cannot_be_sent_leaves_the_earlier_outcome_unknown() -> None:
    assert of_repeat(Failed(GONE), "The first call") == Lost(
        "The first call cannot be asked again: the server has no tool 'pay'", idempotent=False
    )


@pytest.mark.parametrize(
    "outcome",
    [Done({"id": 7}), Failed(GONE, answered=True), NotSent(GONE), TimedOut(GONE), Lost("gone", idempotent=True)],
)
def test_every_other_outcome_of_a_repeat_is_its_own(outcome: Outcome) -> None:
    assert of_repeat(outcome, "The first call") is outcome


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 3), (3, 8), (4, 20)])
def test_waits_grow_with_a_jitter_of_a_fifth(attempt: int, seconds: float) -> None:
    assert postponement(attempt, 0.0) == timedelta(seconds=seconds * 0.8)
    assert postponement(attempt, 0.5) == timedelta(seconds=seconds)
    assert postponement(attempt, 1.0) == timedelta(seconds=seconds * 1.2)


def test_in_the_end_it_is_not_tried_again() -> None:
    assert postponement(5, 0.5) is None
