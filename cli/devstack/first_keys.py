"""How the owner of a new stack gets in: a key for each role, and a link for the browser."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from services.identity.bootstrap import first_sign_in_link
from services.identity.keys import admin_key_exists, ensure_first_keys
from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database, WakeUp
from settings import Settings


class _NobodyListens:
    """A new key is no news to a worker or a waiting agent."""

    def publish(self, hints: Sequence[WakeUp], wakes: Sequence[UUID]) -> None:
        pass


def first_keys(settings: Settings, known: dict[str, str]) -> dict[str, str]:
    """Role → key: those of `known` that are still good, and new ones for the other roles."""
    with _database(settings, settings.public_url) as database:
        return ensure_first_keys(database, known)


def has_admin_key(settings: Settings) -> bool:
    """Whether there is a good key that may do everything."""
    with _database(settings, settings.public_url) as database:
        return admin_key_exists(database)


def sign_in_link(settings: Settings, public_url: str) -> str | None:
    """A new one, good once."""
    with _database(settings, public_url) as database:
        return first_sign_in_link(database)


@contextmanager
def _database(settings: Settings, public_url: str) -> Iterator[Database]:
    engine = open_engine(settings.database_url, pool_size=1, name="up")
    try:
        yield Database(engine, _NobodyListens(), public_url)
    finally:
        engine.dispose()
