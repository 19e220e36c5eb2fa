"""One database for all tests of this room, emptied before each: a new one each would take most of their time."""

import contextlib
from collections.abc import Iterator

import psycopg2
import pytest

from cli.devstack import Stack
from domain.sagas import outcome
from models import (
    audit,
    callbacks,
    definitions,
    keys,
    leases,
    namespaces,
    notifications,
    pauses,
    people,
    receipts,
    sagas,
    webhooks,
)
from models.tables import metadata
from services.sagas import execution
from tests.conftest import TEMPLATE, new_database

# Whatever a test imports: a table that is not known is not emptied, and none that refers to it can be used.
TABLES = (
    *(audit, callbacks, definitions, leases, keys, namespaces),
    *(notifications, pauses, people, receipts, sagas, webhooks),
)


@pytest.fixture(scope="session")
def shared_database_url(servers: Stack) -> Iterator[str]:
    with new_database(servers, TEMPLATE) as url:
        yield url


@pytest.fixture(autouse=True)
def _postponed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postpone rows by minutes instead of seconds, so that a slow test does not see them due. Tests use `wait`."""
    monkeypatch.setattr(outcome, "_POSTPONED_FOR", tuple(60 * seconds for seconds in outcome._POSTPONED_FOR))
    monkeypatch.setattr(execution, "_CALL_AGAIN", 60 * execution._CALL_AGAIN)
    monkeypatch.setattr(execution, "_ROOM_AGAIN", 60 * execution._ROOM_AGAIN)


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    """A migrated and empty database."""
    statements = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
    with (
        contextlib.closing(psycopg2.connect(shared_database_url)) as connection,
        connection,
        connection.cursor() as cur,
    ):
        # As a replica applies changes: the audit log's own trigger would refuse.
        cur.execute(f"SET LOCAL session_replication_role = replica; {statements}")
    return shared_database_url
