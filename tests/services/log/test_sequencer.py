"""Entries that are linked after their commit: by any number of sequencers, whatever is killed or late in between."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy.exc import IntegrityError

from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from domain.log.audit_chain import OVERDUE, read_line
from domain.log.audit_chain import verify as verdict_on
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log import audit, sequencer
from services.log.audit import EventFilter, export, list_events, verify
from services.log.row_verification import verify_rows
from services.log.sequencer import Sequencer, link_entries
from services.operations.health import backlog, readiness
from tests.services.by_watch_id import decide_pause
from tests.services.world import ADMIN, REVIEWER, approve, at_once, change, one, post, rows, someone

ALL = someone(Role.OPERATOR, "*")
# The statement that a process of the release before sends with its COMMIT.
OLD = """INSERT INTO audit_events (namespace, entry) VALUES ('default', '{"namespace":"default","type":"old"}')"""
NEW = """INSERT INTO audit_unlinked (namespace, entry) VALUES ('default', '{"namespace":"default","type":"late"}')"""


def write(database: Database, namespace: str = "default", **details: Any) -> None:
    with database.transaction() as uow:
        uow.record(ADMIN, namespace, "thing.changed", "thing_1", **details)


def verdict(database: Database) -> tuple[bool, int, int]:
    """Verify all chains and their export. Return whether they are intact, the checked rows, and the unlinked ones."""
    found = verify(database, ALL)
    assert verdict_on(read_line(line) for line in export(database, ALL)).document() == found
    return found["ok"], found["checked"], found["unlinked"]


def types(database: Database) -> list[str]:
    """The types of the linked entries of the default namespace, in the order of the chain."""
    query = "SELECT entry ->> 'type' AS type FROM audit_events WHERE namespace = 'default' ORDER BY seq"
    return [row["type"] for row in rows(database, query)]


@contextlib.contextmanager
def another(database_url: str) -> Iterator[Any]:
    """The cursor of another connection, in a transaction of its own; rolled back at the end."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.mark.parametrize("old", [False, True])
def test_a_writer_waits_for_no_commit_of_another(old: bool, database: Database, database_url: str) -> None:
    """Neither for one that holds the chain's head, as the release before does until its commit."""
    write(database)
    link_entries(database)
    with another(database_url) as cursor:
        cursor.execute(OLD if old else NEW)
        cursor.execute("SELECT FROM audit_heads FOR UPDATE")
        with database.transaction() as uow:
            uow.set_lock_timeout(100)
            uow.record(ADMIN, "default", "thing.changed", "thing_1")
    assert verdict(database) == (True, 1, 1)


def test_a_killed_sequencer_leaves_entries_unlinked_or_linked(database: Database, database_url: str) -> None:
    """It is killed when it has linked and not committed; another one links them then."""
    for number in range(3):
        write(database, number=number)
    linking = f"""
import psycopg2, time
cursor = psycopg2.connect({database_url!r}).cursor()
cursor.execute("SELECT linked FROM audit_link_entries(ARRAY['default'], 0, 2)")
print(cursor.fetchone()[0], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", linking], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        assert verdict(database) == (True, 0, 3)
        process.kill()
    assert wait_until(lambda: link_entries(database) == 3, 240)
    assert verdict(database) == (True, 3, 0)
    assert link_entries(database) == 0
    query = "SELECT entry #>> '{details,number}' AS number FROM audit_events ORDER BY seq"
    assert [row["number"] for row in rows(database, query)] == ["0", "1", "2"]


def test_two_sequencers_take_turns(database: Database, database_url: str) -> None:
    """The second one waits for the commit of the first, and then reads what is left."""
    write(database)
    link_entries(database)
    for _ in range(3):
        write(database)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT audit_link' AND wait_event_type = 'Lock'"
    with another(database_url) as first, ThreadPoolExecutor(1) as pool, another(database_url) as second:
        first.execute("SELECT audit_link_entries(ARRAY['default'], 0, 2)")
        link = "SELECT audit_link_entries(ARRAY['default'], 0, 9)::text"
        run = pool.submit(lambda: (second.execute(link), second.fetchone()[0], second.connection.commit()))
        assert wait_until(lambda: one(database, waiting) == 1, 240)
        first.connection.commit()
        assert run.result(240)[1].startswith("(1,")
    assert verdict(database) == (True, 4, 0)


def test_many_sequencers_and_writers_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry is linked once. Writers of the release before are among them."""
    monkeypatch.setattr(sequencer, "BATCH", 7)

    def new() -> None:
        for _ in range(15):
            with database.transaction() as uow:
                for name in ("default", "shop", "*"):
                    uow.record(ADMIN, name, "thing.changed", "thing_1")

    def old() -> None:
        for _ in range(15):
            change(database, OLD)

    def link() -> None:
        for _ in range(30):
            link_entries(database)

    assert [error for error in at_once([*[new] * 4, *[old] * 2, *[link] * 4]) if error] == []
    link_entries(database)
    assert verdict(database) == (True, 4 * 15 * 3 + 2 * 15, 0)
    assert types(database).count("old") == 30
    assert one(database, "SELECT count(DISTINCT entry_id) FROM audit_events") == 180


def test_a_transaction_that_commits_late_is_linked(database: Database, database_url: str) -> None:
    """Its entry has a lower id than those that were linked before it committed."""
    running = Sequencer(database)
    with another(database_url) as cursor:
        cursor.execute(NEW)
        for _ in range(3):
            write(database)
        assert running.run() == 3
        assert verdict(database) == (True, 3, 0)
        cursor.connection.commit()
    assert verdict(database) == (True, 3, 1)
    assert running.run() == 1
    assert types(database) == [*["thing.changed"] * 3, "late"]
    assert one(database, "SELECT min(entry_id) = (array_agg(entry_id ORDER BY seq))[4] FROM audit_events")
    assert verdict(database) == (True, 4, 0)


def test_a_very_late_one_is_linked_too(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ids below are settled, so that only a look at the whole table finds it."""
    monkeypatch.setattr(sequencer, "SETTLED_AFTER", -1.0)
    running = Sequencer(database)
    with another(database_url) as cursor:
        cursor.execute(NEW)
        write(database)
        assert running.run() == 1
        cursor.connection.commit()
    write(database)
    assert running.run() == 1
    assert verdict(database) == (True, 2, 1)
    monkeypatch.setattr(sequencer, "WHOLE_EVERY", 0.0)
    running = Sequencer(database)
    assert running.run() == 1
    assert verdict(database) == (True, 3, 0)


def test_the_release_before_links_what_came_before_it(database: Database) -> None:
    """A pause that a new process created and an old one decided: its entries are in that order."""
    watch_id = post(database)
    change(database, OLD)
    assert types(database) == ["pause.created", "old"]
    decide_pause(database, REVIEWER, watch_id, approve())
    change(database, OLD)
    assert types(database) == ["pause.created", "old", "pause.approved", "old"]
    assert (verdict(database), verify_rows(database, ALL).bad) == ((True, 4, 0), [])


def test_a_chain_that_cannot_go_on_delays_no_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head was set back, so its next entry would have the number of another one."""
    monkeypatch.setattr(sequencer, "BATCH", 2)
    write(database, "shop")
    link_entries(database)
    change(database, "UPDATE audit_heads SET seq = 0")
    for namespace in ("shop", "shop", "shop", "bank", "bank", "bank"):
        write(database, namespace)
    with pytest.raises(IntegrityError, match="pk_audit_events"):
        link_entries(database)
    assert verify(database, ALL, "bank") == {
        "ok": True,
        "checked": 3,
        "unlinked": 0,
        "overdue": 0,
        "signed": 0,
        "first_bad": None,
    }
    assert verify(database, ALL, "shop")["unlinked"] == 3


def test_an_unlinked_entry_that_waits_too_long_is_reported(database: Database) -> None:
    """By the verification of the server and of an export, by readiness and by the backlog."""
    revision = one(database, "SELECT version_num FROM alembic_version")
    write(database)
    assert verdict(database) == (True, 0, 1)
    assert readiness(database, revision).linked
    old = f"clock_timestamp() - interval '{OVERDUE} s'"
    entry = """'{"namespace":"shop"}'"""
    change(database, f"INSERT INTO audit_unlinked (namespace, entry, added_at) VALUES ('shop', {entry}, {old})")
    assert verdict(database) == (False, 0, 2)
    assert verify(database, ALL) == {
        "ok": False,
        "checked": 0,
        "unlinked": 2,
        "overdue": 1,
        "signed": 0,
        "first_bad": None,
    }
    link_entries(database)
    assert (verdict(database), readiness(database, revision).linked) == ((True, 2, 0), True)
    change(database, f"INSERT INTO audit_unlinked (namespace, entry, added_at) VALUES ('shop', {entry}, {old})")
    assert not readiness(database, revision).linked
    assert backlog(database).unlinked_seconds >= OVERDUE


def test_a_list_has_unlinked_entries_first_and_keeps_its_place(database: Database) -> None:
    """A cursor finds the same place after its entry was linked, and whatever came since."""
    numbers = lambda page: [  # noqa: E731
        event["details"]["number"] for event in list_events(database, ADMIN, EventFilter("default"), page).items
    ]
    for number in range(6):
        write(database, number=number)
        if number == 2:
            link_entries(database)
    events = list_events(database, ADMIN, EventFilter("default"), Page())
    assert [event["seq"] for event in events.items] == [None, None, None, 3, 2, 1]
    assert [event["hash"] is None for event in events.items] == [True] * 3 + [False] * 3
    first = list_events(database, ADMIN, EventFilter("default"), Page(2))
    assert numbers(Page(2, after=first.next_after)) == [3, 2]
    assert (numbers(Page(2)), numbers(Page(2, 2)), numbers(Page(9))) == ([5, 4], [3, 2], [5, 4, 3, 2, 1, 0])
    write(database, number=6)
    link_entries(database)
    write(database, number=7)
    assert numbers(Page(9, after=first.next_after)) == [3, 2, 1, 0]
    assert numbers(Page(9)) == [7, 6, 5, 4, 3, 2, 1, 0]


def test_an_export_has_unlinked_entries_before_the_heads(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 2)
    for number in range(6):
        write(database, number=number)
        if number == 0:
            link_entries(database)
    assert verdict(database) == (True, 1, 5)
    lines = [line for line in export(database, ALL) if "unlinked_for" in line]
    assert [f'"number":{number}' in line for number, line in enumerate(lines, 1)] == [True] * 5
