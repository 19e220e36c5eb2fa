"""A scrape of a big database gets a recent count at once, and never another caller's."""

from contextlib import closing

import psycopg2
import pytest

from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database
from services.operations import recent_counts, statistics
from services.operations.health import backlog
from services.operations.recent_counts import RecentCounts
from tests.services.world import ADMIN, post, someone

SECONDS = 60.0


def test_a_slow_count_is_made_in_the_background(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock keeps the table from being counted; a caller with other namespaces starts with its own count."""
    monkeypatch.setattr(recent_counts, "QUICK", -1.0)
    cache = RecentCounts(database, backlog)

    def pending() -> int:
        return cache.read(ADMIN)[0].pending_pauses

    assert pending() == 0
    post(database)
    with closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE pauses")
        first, second = cache.read(ADMIN), cache.read(ADMIN)
    assert [found.pending_pauses for found, _ in (first, second)] == [0, 0]
    assert first[1] < second[1], "the age of the same count"
    assert wait_until(lambda: pending() == 1, SECONDS)
    assert cache.read(someone(Role.OPERATOR, "elsewhere"))[0].pending_pauses == 0
    assert cache.read(someone(Role.ADMIN))[0].pending_pauses == 1


def test_a_quick_or_an_old_count_is_made_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = RecentCounts(database, backlog)
    for quick, oldest in ((SECONDS, SECONDS), (-1.0, -1.0)):
        monkeypatch.setattr(recent_counts, "QUICK", quick)
        monkeypatch.setattr(recent_counts, "OLDEST", oldest)
        before = cache.read(ADMIN)[0].pending_pauses
        post(database)
        assert cache.read(ADMIN)[0].pending_pauses == before + 1


def test_a_failed_count_is_made_again(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "STATEMENT_TIMEOUT", "50ms")
    waiting = statistics.Statistics(database).waiting
    with closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE pauses")
        with pytest.raises(DatabaseUnavailable):
            waiting.read(ADMIN)
    assert waiting.read(ADMIN)[0] == []
