"""The wait before the next attempt. All times are in seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# ±20 %, so that a receiver that has recovered does not get every retry at once.
JITTER = 0.2
# The longest wait that a receiver's Retry-After can impose: the longest step of the standard schedule.
MAX_RETRY_AFTER = 36_000.0


def delay(schedule: Sequence[int], retry: int, uniform: float, retry_after: float | None = None) -> float | None:
    """Return the seconds until retry number `retry` (0 = the first), or None when the schedule is used up.

    `uniform` is a random number from 0 to 1. `retry_after` is the minimum that the receiver requested.
    """
    if retry >= len(schedule):
        return None
    jittered = schedule[retry] * (1 - JITTER + 2 * JITTER * uniform)
    return max(jittered, min(retry_after or 0.0, MAX_RETRY_AFTER))


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, an integer or an HTTP date (RFC 9110, 10.2.3), as seconds from `now`."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # OverflowError: the time zone has too many digits
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
