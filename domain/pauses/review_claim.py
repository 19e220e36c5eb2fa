"""A claim: somebody works on a review."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.pauses.votes import Actor

# A claim that nobody gave back ends by itself: whoever made it was called away, and others should not wait longer.
CLAIM_LASTS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ReviewClaim:
    """Somebody works on the review. Advice to others, no lock: whoever may vote still may."""

    by: Actor
    at: datetime

    @property
    def until(self) -> datetime:
        return self.at + CLAIM_LASTS
