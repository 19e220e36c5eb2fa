"""Reminders and escalation of a pause: the times at which voters are notified again, and others are added.

All times count from the creation of the pause, so votes do not move them.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from domain.delivery.notification import Reason
from domain.pauses.pause import Event, Pause, escalate


class Reminded(NamedTuple):
    """The pause after a reminder or escalation, and the reason of the notification."""

    pause: Pause
    reason: Reason
    events: tuple[Event, ...]


def next_at(pause: Pause) -> datetime | None:
    """Return the time of the next reminder or escalation, or None."""
    review = pause.review
    after = list(review.remind_after[pause.reminders :])
    if review.escalate is not None and review.escalate.after is not None and pause.escalated_at is None:
        after.append(review.escalate.after)
    return pause.created_at + timedelta(seconds=min(after)) if after else None


def remind(pause: Pause, now: datetime) -> Reminded:
    """Remind or escalate a pause whose `attend_at` is past. Several missed reminders become one notification."""
    age = now - pause.created_at
    sent = sum(timedelta(seconds=seconds) <= age for seconds in pause.review.remind_after)
    escalation = pause.review.escalate
    late = escalation is not None and escalation.after is not None and timedelta(seconds=escalation.after) <= age
    reminded = replace(pause, reminders=sent)
    changed, events = escalate(reminded, now) if late else (reminded, ())
    reason = Reason.ESCALATED if events else Reason.REMINDER if sent > pause.reminders else Reason.WAITING
    return Reminded(replace(changed, attend_at=next_at(changed)), reason, events)
