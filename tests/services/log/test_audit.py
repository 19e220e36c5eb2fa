"""The audit log on the real database: chained with the commit, refused to change, and every tampering is named."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError

from domain.identity.access import Role
from domain.log.audit import EVERYWHERE, ORIGIN, link
from domain.log.audit_chain import read_line
from domain.log.audit_chain import verify as verdict_on
from domain.values.errors import Forbidden
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log import audit
from services.log.audit import EventFilter, export, list_events, verify
from services.log.sequencer import link_entries
from tests.services.by_watch_id import decide_pause
from tests.services.world import ADMIN, OPERATOR, REVIEWER, approve, at_once, change, linked, one, post, rows, someone

ALL = someone(Role.OPERATOR, "*")
WHOLE = {"ok": True, "unlinked": 0, "overdue": 0, "signed": 0, "first_bad": None}


def write(database: Database, namespace: str = "default", type_: str = "thing.changed", **details: Any) -> None:
    with database.transaction() as uow:
        uow.record(ADMIN, namespace, type_, "thing_1", **details)


def tamper(database_url: str, *statements: str) -> None:
    """As a superuser may, who switches the triggers off."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)


def verdict(database: Database) -> dict[str, Any]:
    """Verify all chains, and check that their export gives the same verdict."""
    found = verify(linked(database), ALL)
    exported = verdict_on(read_line(line) for line in export(database, ALL)).document()
    assert exported["ok"] == found["ok"]
    return found


class TestChain:
    def test_the_database_and_python_compute_the_same(self, database: Database) -> None:
        """This holds for characters of several bytes, and for those that JSON escapes."""
        write(database)
        write(database, said='žluťoučký 🐎 \u2028 \\ " \n \x1f')
        write(database, before={"ž": 1}, after={"ž": [1.0, None]})
        previous = ORIGIN
        for row in rows(linked(database), "SELECT seq, hash, entry::text AS entry FROM audit_events ORDER BY seq"):
            assert bytes(row["hash"]) == link(previous, row["seq"], row["entry"])
            previous = bytes(row["hash"])
        assert bytes(one(database, "SELECT hash FROM audit_heads")) == previous
        assert verdict(database) == WHOLE | {"checked": 3}

    def test_an_entry_says_who_did_what_and_from_where(self, database: Database) -> None:
        by = someone(Role.ADMIN, "shop", id_="key_1")
        with database.transaction() as uow:
            uow.record(by, "shop", "thing.changed", "thing_1", before={"a": 1}, after=None, why="so")
            uow.record(None, "shop", "thing.expired", "thing_2")
        by_system, by_key = list_events(linked(database), by, EventFilter(), Page()).items
        digest = hashlib.sha256(b'{"a":1}').hexdigest()
        wanted = {"by": "key_1", "by_name": "admin", "before": digest, "after": None, "details": {"why": "so"}}
        assert {name: by_key[name] for name in wanted} == wanted
        assert (by_system["by"], by_system["details"], by_system["seq"]) == ("system", None, 2)

    def test_a_transaction_that_is_rolled_back_leaves_nothing(self, database: Database) -> None:
        write(database)
        with pytest.raises(ValueError, match="stop"), database.transaction() as uow:  # noqa: PT012
            uow.record(ADMIN, "default", "thing.changed", "x")
            raise ValueError("stop")
        write(database)
        assert verdict(database) == WHOLE | {"checked": 2}

    def test_an_entry_that_cannot_be_stored_takes_the_change_along(self, database: Database) -> None:
        """No change without its entry."""
        with pytest.raises(DBAPIError), database.transaction() as uow:  # noqa: PT012
            uow.conn.exec_driver_sql("INSERT INTO worker_heartbeats VALUES ('w', now())")
            uow.conn.exec_driver_sql("INSERT INTO audit_unlinked (namespace, entry) VALUES ('default', NULL)")
        assert one(database, "SELECT count(*) FROM worker_heartbeats") == 0
        assert verdict(database) == WHOLE | {"checked": 0}

    @pytest.mark.parametrize("statement", ["UPDATE audit_events SET entry = '{}'", "DELETE FROM audit_events"])
    def test_nothing_is_changed_or_removed(self, database: Database, statement: str) -> None:
        write(linked(database))
        write(database)
        either = [statement, "TRUNCATE audit_events"]
        for refused in (*either, *(each.replace("events", "unlinked") for each in either)):
            with pytest.raises(DBAPIError, match="append-only"):
                change(database, refused)
        assert verdict(database) == WHOLE | {"checked": 2}

    def test_writers_at_the_same_time_make_one_unbroken_chain_each(self, database: Database) -> None:
        """In one namespace and in several: the two that write to the same two chains do not wait for each other."""

        def worker(number: int) -> Callable[[], None]:
            def run() -> None:
                for turn in range(10):
                    with database.transaction() as uow:
                        names = ["one", "two", EVERYWHERE] if number % 2 else [EVERYWHERE, "two", f"own-{number}"]
                        for name in names:
                            uow.record(ADMIN, name, "thing.changed", f"{number}-{turn}")

            return run

        assert [error for error in at_once([worker(number) for number in range(16)]) if error] == []
        assert verdict(database) == WHOLE | {"checked": 480}
        ends = {row["namespace"]: row["seq"] for row in rows(database, "SELECT * FROM audit_heads")}
        assert (ends["one"], ends["two"], ends[EVERYWHERE], ends["own-0"]) == (80, 160, 160, 10)

    def test_a_log_that_is_written_to_meanwhile_is_whole(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows that came after the verification began are read with the head that they have."""
        monkeypatch.setattr(audit, "BATCH", 2)
        for _ in range(4):
            write(database)
        lines = []
        for line in export(linked(database), ALL):
            if len(lines) < 5:
                write(database)
                link_entries(database)
            lines.append(line)
        assert verdict_on(map(read_line, lines)).document() == WHOLE | {"checked": 9}


# Changes to a chain of five entries, and the result of the verification.
AT_3 = "WHERE namespace = 'shop' AND seq = 3"
FORGED = "replace(entry::text, 'changed', 'deleted')"
TAMPERED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an entry": ((f"UPDATE audit_events SET entry = {FORGED}::json {AT_3}",), 3, "changed"),
    "blanks in an entry": ((f"UPDATE audit_events SET entry = (entry::text || ' ')::json {AT_3}",), 3, "changed"),
    "a hash": ((f"UPDATE audit_events SET hash = sha256('x') {AT_3}",), 3, "changed"),
    "an entry with its hash": (
        (
            f"UPDATE audit_events SET entry = {FORGED}::json, hash = sha256(("
            "SELECT hash FROM audit_events WHERE namespace = 'shop' AND seq = 2"
            f") || convert_to('3:' || {FORGED}, 'UTF8')) {AT_3}",
        ),
        # The rows do not show which of the two was changed: the chain breaks after it.
        4,
        "changed",
    ),
    "one removed": ((f"DELETE FROM audit_events {AT_3}",), 3, "missing"),
    "one removed, the rest moved up": (
        (
            f"DELETE FROM audit_events {AT_3}",
            *(f"UPDATE audit_events SET seq = {n - 1} WHERE seq = {n} AND namespace = 'shop'" for n in (4, 5)),
        ),
        3,
        "changed",
    ),
    "the first removed": (("DELETE FROM audit_events WHERE seq = 1 AND namespace = 'shop'",), 1, "missing"),
    "the tail removed": (("DELETE FROM audit_events WHERE seq > 3 AND namespace = 'shop'",), 4, "missing"),
    "all removed": (("DELETE FROM audit_events WHERE namespace = 'shop'",), 1, "missing"),
    "the head removed": (("DELETE FROM audit_heads WHERE namespace = 'shop'",), 6, "missing"),
    "the head set back": (("UPDATE audit_heads SET seq = 4 WHERE namespace = 'shop'",), 5, "inserted"),
    "the head's hash": (("UPDATE audit_heads SET hash = sha256('x') WHERE namespace = 'shop'",), 5, "changed"),
    "one put in behind": (
        ("INSERT INTO audit_events SELECT namespace, 6, hash, entry FROM audit_events " + AT_3,),
        6,
        "changed",
    ),
    "one put in before": (
        ("INSERT INTO audit_events SELECT namespace, 0, hash, entry FROM audit_events " + AT_3,),
        0,
        "inserted",
    ),
    "two swapped": (
        (
            "UPDATE audit_events a SET entry = b.entry, hash = b.hash FROM audit_events b"
            " WHERE a.namespace = 'shop' AND b.namespace = 'shop' AND a.seq IN (3, 4) AND b.seq = 7 - a.seq",
        ),
        3,
        "changed",
    ),
    "a chain under another's name": (
        tuple(
            f"UPDATE {table} SET namespace = 'shop2' WHERE namespace = 'shop'"
            for table in ("audit_events", "audit_heads")
        ),
        1,
        "changed",
    ),
}


class TestTampering:
    @pytest.mark.parametrize("how", TAMPERED)
    @pytest.mark.parametrize("batch", [2, 1_000])
    def test_it_is_found_and_named(
        self, how: str, batch: int, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "BATCH", batch)
        for namespace in ("shop", "bank"):
            for number in range(5):
                write(database, namespace, number=number)
        statements, seq, what = TAMPERED[how]
        link_entries(database)
        tamper(database_url, *statements)
        found = verdict(database)
        assert (found["ok"], found["first_bad"]["seq"], found["first_bad"]["what"]) == (False, seq, what)
        assert found["first_bad"]["namespace"].startswith("shop")
        # Chains do not hang together: the other one is whole.
        assert verify(database, ALL, "bank") == WHOLE | {"checked": 5}

    def test_a_row_behind_the_head(self, database: Database, database_url: str) -> None:
        """It is linked correctly, but no head covers it."""
        write(database, "shop")
        link_entries(database)
        forged = '{"namespace":"shop"}'
        tamper(
            database_url,
            "INSERT INTO audit_events SELECT namespace, 2,"
            f" sha256(hash || convert_to('2:{forged}', 'UTF8')), '{forged}' FROM audit_heads",
        )
        assert verdict(database)["first_bad"] == {"namespace": "shop", "seq": 2, "what": "inserted"}

    def test_who_rewrites_everything_is_found_by_an_export_that_was_kept(
        self, database: Database, database_url: str
    ) -> None:
        """The chain alone cannot tell: it is whole again."""
        write(database, "shop", number=1)
        kept = list(export(linked(database), ALL))
        tamper(database_url, "DELETE FROM audit_events", "DELETE FROM audit_heads")
        write(database, "shop", number=2)
        assert verdict(database) == WHOLE | {"checked": 1}
        (head,) = json.loads(kept[-1])["heads"]
        assert all(head["hash"] not in line for line in export(linked(database), ALL))


class TestReading:
    def test_newest_first_in_pages(self, database: Database) -> None:
        for _ in range(5):
            write(database)
        first = list_events(linked(database), OPERATOR, EventFilter(), Page(2))
        rest = list_events(database, OPERATOR, EventFilter(), Page(50, after=first.next_after))
        assert [event["seq"] for event in (*first.items, *rest.items)] == [5, 4, 3, 2, 1]
        assert rest.next_after is None
        assert [event["seq"] for event in list_events(database, OPERATOR, EventFilter(), Page(2, 1)).items] == [4, 3]

    def test_filters(self, database: Database, database_url: str) -> None:
        watch_id = post(database)
        decide_pause(database, REVIEWER, watch_id, approve())
        post(database)
        said = lambda **wanted: [e["type"] for e in list_events(database, ALL, EventFilter(**wanted), Page()).items]  # noqa: E731
        assert said() == ["pause.created", "pause.approved", "pause.created"]
        assert said(subject=watch_id) == ["pause.approved", "pause.created"]
        assert said(type="pause.approved") == ["pause.approved"]
        assert said(by=REVIEWER.id) == ["pause.approved"]
        assert said(type="pause.approved", by="system") == []
        before, after = (one(database, f"SELECT clock_timestamp() {sign} interval '1 min'") for sign in "-+")
        assert len(said(since=before, until=after)) == 3
        assert said(since=after) == said(until=before) == []
        at = one(linked(database), "SELECT (entry ->> 'at')::timestamptz FROM audit_events WHERE seq = 2")
        assert said(since=at) == said()[:2]
        assert said(until=at) == said()[2:]

    def test_each_namespace_is_its_own_and_everywhere_is_for_those_who_see_all(self, database: Database) -> None:
        for namespace in ("default", "shop", EVERYWHERE):
            write(database, namespace, of=namespace)
        shop = someone(Role.OPERATOR, "shop")
        both = someone(Role.OPERATOR, "shop", "default")
        for by, wanted, found in [
            (shop, None, "shop"),
            (both, None, "default"),
            (both, "shop", "shop"),
            (ALL, None, "default"),
            (ALL, "shop", "shop"),
            (ALL, EVERYWHERE, EVERYWHERE),
        ]:
            (event,) = list_events(database, by, EventFilter(wanted), Page()).items
            assert event["namespace"] == event["details"]["of"] == found
        for namespace in ("default", EVERYWHERE, "nowhere"):
            for read in (
                lambda n: list_events(database, shop, EventFilter(n), Page()),
                lambda n: verify(database, shop, n),
            ):
                with pytest.raises(Forbidden):
                    read(namespace)
            with pytest.raises(Forbidden):
                export(database, shop, namespace)
        assert [verify(linked(database), by)["checked"] for by in (shop, both, ALL)] == [1, 2, 3]
        seen = lambda *args: {json.loads(line).get("namespace") for line in export(database, *args)} - {None}  # noqa: E731
        assert (seen(shop), seen(both), seen(ALL, "shop")) == ({"shop"}, {"shop", "default"}, {"shop"})
        assert seen(ALL) == {"default", "shop", EVERYWHERE}
