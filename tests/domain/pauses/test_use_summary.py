"""The words for the use of an approval."""

from datetime import timedelta
from typing import Any

import pytest

from domain.pauses.consumption import NO_OUTCOME, ExecutionStatus
from domain.pauses.execution import consume, report
from domain.pauses.pause import STEP, Status
from domain.pauses.serialization import pause_document
from domain.pauses.use_summary import UseState, use_of
from tests.domain.pauses.test_execution import DECIDED, KEY, LATER, SECOND, approved, reported, told, used
from tests.domain.pauses.test_pause import resolved

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CASES: list[tuple[Any, timedelta, UseState, str]] = [
    (approved(), 60 * MINUTE, UseState.UNUSED, "not used yet"),
    (approved(approval_valid_for=60), MINUTE - SECOND, UseState.UNUSED, "not used yet"),
    (approved(approval_valid_for=60), MINUTE, UseState.LAPSED, "not used in time"),
    (used(), MINUTE, UseState.RUNNING, "used 12 s later, outcome not reported yet"),
    (used(), 16 * MINUTE, UseState.MISSING, "used 12 s later, outcome not reported: needs a look"),
    (used(outcome_within=NO_OUTCOME), DAY, UseState.UNREPORTED, "used 12 s later, its client reports no outcome"),
    (reported(), MINUTE, UseState.SUCCEEDED, "used 12 s later, succeeded"),
    (reported(ExecutionStatus.FAILED), MINUTE, UseState.FAILED, "used 12 s later, failed"),
    (reported(ExecutionStatus.UNKNOWN), MINUTE, UseState.UNKNOWN, "used 12 s later, outcome unknown: needs a look"),
]


@pytest.mark.parametrize(("pause", "after", "state", "text"), CASES, ids=[case[2] for case in CASES])
def test_every_state_has_its_words(pause: Any, after: timedelta, state: UseState, text: str) -> None:
    found = use_of(pause_document(pause, "http://x"), DECIDED + after)
    assert found is not None
    assert (found.state, found.words) == (state, text)
    assert found.state.needs_look == ("needs a look" in text)
    assert found.state.used == ("later" in text)
    assert found.state.is_final == text.endswith(("in time", "no outcome", "succeeded", "failed"))


@pytest.mark.parametrize(
    ("later", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (86_400, "1 d"), (400 * 86_400, "400 d")],
)
def test_durations_are_short(later: int, text: str) -> None:
    at = DECIDED + timedelta(seconds=later)
    pause, _ = report(consume(approved(), KEY, None, at)[0], told(at=at))
    found = use_of(pause_document(pause, "http://x"), at)
    assert found is not None
    assert found.words == f"used {text} later, succeeded"


def test_only_approvals_are_used() -> None:
    """A held step has a use only after the engine has used it."""
    documents = [
        pause_document(resolved(status), "http://x") for status in Status if status not in ("pending", "approved")
    ]
    documents.append(pause_document(approved(kind=STEP), "http://x"))
    assert [use_of(document, LATER) for document in documents] == [None] * 4
    assert use_of(pause_document(used(kind=STEP), "http://x"), LATER) is not None


def test_an_outcome_of_a_newer_release_needs_a_look() -> None:
    document = pause_document(reported(), "http://x")
    document["consumption"]["outcome"]["status"] = "partly"
    found = use_of(document, LATER)
    assert found is not None
    assert found.state.needs_look
