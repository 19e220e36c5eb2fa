"""How long an approval may be used."""

from datetime import datetime, timedelta

from domain.pauses.pause import Pause, Status


def valid_until(pause: Pause) -> datetime | None:
    """Return the time from which the approval can no longer be used; None without a limit or an approval."""
    if pause.status is not Status.APPROVED or pause.decision is None or pause.approval_valid_for is None:
        return None
    return pause.decision.at + timedelta(seconds=pause.approval_valid_for)
