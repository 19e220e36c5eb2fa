"""The times of reminders, and of escalation to other people."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.pauses.approval_policy import parse
from domain.pauses.pause import Pause, Status
from domain.pauses.reminders import next_at, remind

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
ESCALATE = {"escalate": {"after": 120, "to": {"groups": ["leads"]}}}


def held(review: dict[str, Any], **changes: Any) -> Pause:
    return replace(Pause(UUID(int=7), "default", "deploy", "key_a", T0, review=parse(review)), **changes)


def seconds(at: datetime | None) -> float | None:
    return None if at is None else (at - T0).total_seconds()


@pytest.mark.parametrize(
    ("review", "changes", "expected"),
    [
        ({}, {}, None),
        ({"remind_after": [60, 180]}, {}, 60),
        ({"remind_after": [60, 180]}, {"reminders": 1}, 180),
        ({"remind_after": [60, 180]}, {"reminders": 2}, None),
        ({"remind_after": [60, 180]} | ESCALATE, {"reminders": 1}, 120),
        ({"remind_after": [60, 180]} | ESCALATE, {"reminders": 1, "escalated_at": T0}, 180),
        ({"escalate": {"to": {"groups": ["leads"]}}}, {}, None),
    ],
)
def test_the_next_time(review: dict[str, Any], changes: dict[str, Any], expected: float | None) -> None:
    """Whichever comes first of what has not been."""
    assert seconds(next_at(held(review, **changes))) == expected


@pytest.mark.parametrize(
    ("review", "changes", "after", "reason", "following"),
    [
        ({}, {}, 0, "waiting", None),
        ({"remind_after": [60, 180]}, {}, 0, "waiting", 60),
        ({"remind_after": [60, 180]}, {}, 60, "reminder", 180),
        ({"remind_after": [60, 180]}, {}, 600, "reminder", None),
        ({"remind_after": [60, 180]}, {"reminders": 1}, 70, "waiting", 180),
        (ESCALATE, {}, 119, "waiting", 120),
        (ESCALATE, {}, 120, "escalated", None),
        ({"remind_after": [60, 180]} | ESCALATE, {}, 150, "escalated", 180),
        (ESCALATE, {"escalated_at": T0}, 500, "waiting", None),
    ],
)
def test_why_people_are_told(
    review: dict[str, Any], changes: dict[str, Any], after: int, reason: str, following: float | None
) -> None:
    """One message, though a worker was away for two: the latest reason says most."""
    reminded = remind(held(review, **changes), T0 + timedelta(seconds=after))
    assert reminded.reason == reason
    assert seconds(reminded.pause.attend_at) == following
    assert [event.type for event in reminded.events] == (["pause.escalated"] if reason == "escalated" else [])


def test_what_is_resolved_is_not_escalated() -> None:
    """The decision was first."""
    reminded = remind(held(ESCALATE, status=Status.APPROVED), T0 + timedelta(hours=1))
    assert reminded.pause.escalated_at is None
