"""The claim of a review."""

from datetime import UTC, datetime

from domain.pauses.pause import Actor
from domain.pauses.review_claim import CLAIM_LASTS, ReviewClaim

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_claim_ends_by_itself() -> None:
    assert ReviewClaim(Actor("usr_1", "Ada"), NOW).until == NOW + CLAIM_LASTS
