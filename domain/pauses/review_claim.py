"""A claim: the notice that a person works on a review."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.pauses.votes import Actor

# A claim ends by itself, so that others do not wait long for a person who was called away.
CLAIM_LASTS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ReviewClaim:
    """A person's claim of a review. It informs the other voters but is not a lock: they may still vote."""

    by: Actor
    at: datetime

    @property
    def until(self) -> datetime:
        return self.at + CLAIM_LASTS
