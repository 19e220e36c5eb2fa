"""First access to a new stack: a key for each role and a sign-in link."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.identity.bootstrap import first_sign_in_link
from services.identity.keys import admin_key_exists, ensure_first_keys
from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database, NoPublisher
from settings import Settings


def first_keys(settings: Settings, known: dict[str, str]) -> dict[str, str]:
    """Return a key for each role: those of `known` that are still valid, and new ones for the other roles."""
    with _database(settings, settings.public_url) as database:
        return ensure_first_keys(database, known)


def has_admin_key(settings: Settings) -> bool:
    """Return whether a valid key for all actions exists."""
    with _database(settings, settings.public_url) as database:
        return admin_key_exists(database)


def sign_in_link(settings: Settings, public_url: str) -> str | None:
    """Return a new link that works once, or None if no admin exists for it."""
    with _database(settings, public_url) as database:
        return first_sign_in_link(database)


@contextmanager
def _database(settings: Settings, public_url: str) -> Iterator[Database]:
    engine = open_engine(settings.database_url, pool_size=1, name="up")
    try:
        yield Database(engine, NoPublisher(), public_url)
    finally:
        engine.dispose()
