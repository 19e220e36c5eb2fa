"""The claim of a review."""

from datetime import UTC, datetime

from domain.claim import CLAIM_LASTS, Claim
from domain.pause import Actor

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_claim_ends_by_itself() -> None:
    assert Claim(Actor("usr_1", "Ada"), NOW).until == NOW + CLAIM_LASTS
