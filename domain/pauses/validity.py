"""How long an approval may be used, and when its outcome is due."""

from datetime import datetime, timedelta

from domain.pauses.consumption import NO_OUTCOME, OUTCOME_WITHIN
from domain.pauses.pause import Pause, Status


def valid_until(pause: Pause) -> datetime | None:
    """Return the time from which the approval can no longer be used; None without a limit or an approval."""
    if pause.status is not Status.APPROVED or pause.decision is None or pause.approval_valid_for is None:
        return None
    return pause.decision.at + timedelta(seconds=pause.approval_valid_for)


def outcome_due_at(pause: Pause, used_at: datetime) -> datetime | None:
    """Return the time from which a missing outcome of the approval that was used at `used_at` needs a look.

    None: the client of the agent cannot report an outcome.
    """
    if pause.outcome_within == NO_OUTCOME:
        return None
    return used_at + timedelta(seconds=pause.outcome_within or OUTCOME_WITHIN)
