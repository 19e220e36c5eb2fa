"""Statistics: each pause, decision and delivery counts on its day, and only for callers that see it."""

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from domain.identity.access import Role
from domain.values import ids
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database
from services.operations import statistics
from services.operations.statistics import DAYS, DecisionDay, WebhookDay
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    OPERATOR,
    approve,
    cancel,
    change,
    claim,
    deliveries,
    finish,
    one,
    post,
    reject,
    rows,
    someone,
    uuid_of,
)

ELSEWHERE = someone(Role.AGENT, "elsewhere")
REVIEWER_ELSEWHERE = someone(Role.REVIEWER, "elsewhere")


def today(database: Database) -> date:
    found: date = one(database, "SELECT (now() AT TIME ZONE 'UTC')::date")
    return found


def aged(database: Database, watch_id: str, age: timedelta) -> None:
    """The pause was created that long ago, and its id is of that time."""
    made = one(database, "SELECT created_at FROM pauses WHERE id = :id", id=uuid_of(watch_id)) - age
    moved = "UPDATE pauses SET id = :moved, created_at = :made WHERE id = :id"
    assert change(database, moved, moved=ids.uuid7(made, 7), made=made, id=uuid_of(watch_id)) == 1


def resolved(database: Database, watch_id: str, seconds: float, days: int = 0) -> None:
    """It was resolved that many days ago, and that many seconds after it was created."""
    moved = (
        "UPDATE pauses SET resolved_at = resolved_at - :days * interval '1 day',"
        " created_at = resolved_at - :days * interval '1 day' - :seconds * interval '1 s' WHERE id = :id"
    )
    assert change(database, moved, seconds=seconds, days=days, id=uuid_of(watch_id)) == 1


class TestWaiting:
    def test_nothing_waits(self, database: Database) -> None:
        assert statistics.waiting(database, ADMIN) == []

    def test_by_namespace_and_age(self, database: Database) -> None:
        for minutes in (0, 11, 61, 25 * 60, 9 * 24 * 60):
            aged(database, post(database), timedelta(minutes=minutes))
        post(database, ELSEWHERE, namespace="elsewhere")
        decide_pause(database, someone(Role.REVIEWER), post(database), approve())
        found = statistics.waiting(database, ADMIN)
        assert [(each.namespace, each.counts) for each in found] == [
            ("default", (1, 1, 1, 2)),
            ("elsewhere", (1, 0, 0, 0)),
        ]
        assert (found[0].total, found[0].oldest) == (5, 2)

    def test_of_the_namespaces_that_one_sees(self, database: Database) -> None:
        post(database)
        post(database, ELSEWHERE, namespace="elsewhere")
        assert [each.namespace for each in statistics.waiting(database, OPERATOR)] == ["default"]


class TestDecisions:
    def test_nothing_was_decided(self, database: Database) -> None:
        found = statistics.decisions(database, ADMIN)
        assert found == [DecisionDay(today(database) - timedelta(days=DAYS - 1 - number)) for number in range(DAYS)]

    def test_by_day_and_outcome(self, database: Database) -> None:
        by = someone(Role.REVIEWER)
        for seconds, days in ((10, 0), (20, 0), (40, 3)):
            watch_id = post(database)
            decide_pause(database, by, watch_id, approve())
            resolved(database, watch_id, seconds, days)
        watch_id = post(database)
        decide_pause(database, by, watch_id, reject())
        resolved(database, watch_id, 30)
        decide_pause(database, AGENT, post(database), cancel())
        *_, third, _, _, last = statistics.decisions(database, ADMIN)
        assert last == DecisionDay(today(database), approved=2, rejected=1, cancelled=1, p50=20, p95=pytest.approx(29))
        assert third == DecisionDay(today(database) - timedelta(days=3), approved=1, p50=40, p95=40)

    def test_a_timeout_is_nobodys_time(self, database: Database) -> None:
        """Approved, but by the clock: it counts as an outcome, not as how fast people are."""
        watch_id = post(database)
        decide_pause(database, someone(Role.REVIEWER), watch_id, approve())
        change(database, "UPDATE pauses SET decided_by = 'system' WHERE id = :id", id=uuid_of(watch_id))
        assert statistics.decisions(database, ADMIN)[-1] == DecisionDay(today(database), approved=1)

    def test_older_ones_are_left_out(self, database: Database) -> None:
        watch_id = post(database)
        decide_pause(database, someone(Role.REVIEWER), watch_id, approve())
        resolved(database, watch_id, 10, DAYS)
        assert sum(day.total for day in statistics.decisions(database, ADMIN)) == 0

    def test_of_the_namespaces_that_one_sees(self, database: Database) -> None:
        decide_pause(database, REVIEWER_ELSEWHERE, post(database, ELSEWHERE, namespace="elsewhere"), approve())
        assert sum(day.total for day in statistics.decisions(database, OPERATOR)) == 0
        assert sum(day.total for day in statistics.decisions(database, REVIEWER_ELSEWHERE)) == 1


class TestWebhooks:
    def test_nothing_was_sent(self, database: Database) -> None:
        assert {day.total for day in statistics.webhooks(database, ADMIN)} == {0}
        assert {day.p95 for day in statistics.webhooks(database, ADMIN)} == {None}

    def test_what_became_of_them(self, database: Database) -> None:
        for _ in range(3):
            decide_pause(database, someone(Role.REVIEWER), post(database, callback_url=CALLBACK), approve())
        first, second, _ = deliveries(database)
        finish(database, claim(database, first))
        finish(database, claim(database, second), 500, schedule=())
        assert statistics.webhooks(database, ADMIN)[-1] == WebhookDay(today(database), 1, 1, 1, pytest.approx(0.005))

    def test_of_the_namespaces_that_one_sees(self, database: Database) -> None:
        watch_id = post(database, ELSEWHERE, namespace="elsewhere", callback_url=CALLBACK)
        decide_pause(database, REVIEWER_ELSEWHERE, watch_id, approve())
        finish(database, claim(database, deliveries(database)[0]))
        assert statistics.webhooks(database, OPERATOR)[-1] == WebhookDay(today(database))
        assert statistics.webhooks(database, REVIEWER_ELSEWHERE)[-1].delivered == 1


class TestCost:
    @pytest.mark.parametrize("ask", [statistics.waiting, statistics.decisions, statistics.webhooks])
    @pytest.mark.parametrize("by", [ADMIN, OPERATOR], ids=["all", "one namespace"])
    def test_few_of_many_rows_are_read_by_an_index(self, ask: Any, by: Any, database: Database) -> None:
        """Old rows are not looked at: on a table of 90 days, a chart reads those of 14."""
        _many_old(database)
        plans = _plans(database, lambda: ask(database, by))
        assert plans
        for plan in plans:
            assert "Seq Scan on pauses" not in plan, plan
            assert "Seq Scan on webhook_deliveries" not in plan, plan
            assert "Seq Scan on webhook_attempts" not in plan, plan

    def test_what_takes_too_long_is_given_up(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """A decision must not wait for a chart."""
        monkeypatch.setattr(statistics, "STATEMENT_TIMEOUT", "50ms")
        with database.transaction() as uow:
            uow.conn.exec_driver_sql("LOCK TABLE pauses")
            with pytest.raises(DatabaseUnavailable, match="57014"):
                statistics.waiting(database, ADMIN)


def _many_old(database: Database) -> None:
    """Thousands of rows from before the window, and one of today."""
    decide_pause(database, someone(Role.REVIEWER), post(database, callback_url=CALLBACK), approve())
    finish(database, claim(database, deliveries(database)[0]))
    names = {
        table: ", ".join(
            row["column_name"]
            for row in rows(
                database,
                "SELECT column_name FROM information_schema.columns WHERE table_name = :table"
                " AND is_identity = 'NO' ORDER BY ordinal_position",
                table=table,
            )
        )
        for table in ("pauses", "webhook_deliveries", "webhook_attempts")
    }

    def copied(table: str, changed: dict[str, str]) -> str:
        values = ", ".join(changed.get(name, name) for name in names[table].split(", "))
        return f"INSERT INTO {table} ({names[table]}) SELECT {values} FROM {table}, generate_series(1, 5000) n"

    old = "lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000'"
    moments = {name: f"{name} - interval '30 days'" for name in ("created_at", "resolved_at", "completed_at")}
    change(database, copied("pauses", {"id": f"({old})::uuid", **moments}))
    change(database, copied("webhook_deliveries", {"id": f"({old})::uuid", **moments}))
    change(
        database,
        copied("webhook_attempts", {"delivery_id": f"({old})::uuid", "started_at": "started_at - interval '30 days'"}),
    )
    with database.reading() as conn:
        conn.exec_driver_sql("ANALYZE")


def _plans(database: Database, call: Any) -> list[str]:
    """Return the plan of every query that the call sends."""
    sent: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    with database.reading() as conn:
        return [
            "\n".join(row[0] for row in conn.exec_driver_sql(f"EXPLAIN {statement}", parameters))
            for statement, parameters in sent
        ]
