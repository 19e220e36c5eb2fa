"""When the people of a review are to be told of it (again), and others to be added: its reminders and its escalation.

All counted from the creation of the pause, so that nothing about the votes moves them.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from domain.delivery.notification import Reason
from domain.pauses.pause import Event, Pause, escalate


class Attended(NamedTuple):
    """`reason`: why its people are told."""

    pause: Pause
    reason: Reason
    events: tuple[Event, ...]


def next_at(pause: Pause) -> datetime | None:
    """The next reminder or escalation that has not been yet."""
    review = pause.review
    after = list(review.remind_after[pause.reminders :])
    if review.escalate is not None and review.escalate.after is not None and pause.escalated_at is None:
        after.append(review.escalate.after)
    return pause.created_at + timedelta(seconds=min(after)) if after else None


def attend(pause: Pause, now: datetime) -> Attended:
    """Of a pause whose `attend_at` has come. What was missed is told once, not one after the other."""
    age = now - pause.created_at
    sent = sum(timedelta(seconds=seconds) <= age for seconds in pause.review.remind_after)
    wanted = pause.review.escalate
    late = wanted is not None and wanted.after is not None and timedelta(seconds=wanted.after) <= age
    reminded = replace(pause, reminders=sent)
    changed, events = escalate(reminded, now) if late else (reminded, ())
    reason = Reason.ESCALATED if events else Reason.REMINDER if sent > pause.reminders else Reason.WAITING
    return Attended(replace(changed, attend_at=next_at(changed)), reason, events)
