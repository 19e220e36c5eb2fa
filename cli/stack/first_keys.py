"""The keys that a new stack gives to its owner, one for each role."""

from collections.abc import Sequence
from uuid import UUID

from services.database import open_engine
from services.keys import ensure_first_keys
from services.transaction import Hint, Store
from settings import Settings


class _NobodyListens:
    """A new key is no news to a worker or a waiting agent."""

    def publish(self, hints: Sequence[Hint], wakes: Sequence[UUID]) -> None:
        pass


def first_keys(settings: Settings, known: dict[str, str]) -> dict[str, str]:
    """Role → key: those of `known` that are still good, and new ones for the other roles."""
    engine = open_engine(settings.database_url, pool_size=1, name="up")
    try:
        return ensure_first_keys(Store(engine, _NobodyListens(), settings.public_url), known)
    finally:
        engine.dispose()
