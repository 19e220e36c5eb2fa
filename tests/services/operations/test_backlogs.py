"""Long backlogs: what is changed at once is small, the rest is done in steps, and indexes lead to each step."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Select, event, text

from domain.values import ids
from domain.values.errors import EndpointDisabled, NotFound
from services.kernel import leases
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.leases import NOTIFICATION
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.notifications.worker import sweep_notifications
from services.operations import retention
from services.operations.health import backlog
from services.webhooks import endpoints
from services.webhooks.deliveries import get_delivery, recover, redeliver
from services.webhooks.endpoint_backlog import sweep_endpoints
from services.webhooks.endpoints import EndpointChange, change_endpoint, delete_endpoint, get_endpoint, list_endpoints
from services.webhooks.worker import claim_delivery
from tests.services.by_watch_id import decide_pause
from tests.services.people import person
from tests.services.world import (
    ADMIN,
    CALLBACK,
    REVIEWER,
    an_endpoint,
    approve,
    change,
    claim,
    deliveries,
    finish,
    one,
    post,
    prune,
    rows,
)

ELSEWHERE = "http://127.0.0.1:9/elsewhere"
LONG_AGO = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Batches of five."""
    monkeypatch.setattr(endpoints, "BATCH", 5)
    return 5


def backlogged(database: Database, count: int = 12) -> dict[str, Any]:
    made = an_endpoint(database, event_types=("pause.created",))
    for _ in range(count):
        post(database)
    return made


def pending(database: Database) -> int:
    return int(one(database, "SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'"))


def ended(database: Database) -> set[str]:
    return {row["last_error"] for row in deliveries(database)}


def sweep(database: Database) -> int:
    """Until nothing is left; how many times."""
    times = 1
    while sweep_endpoints(database):
        times += 1
        assert times < 20
    return times


def test_switched_off_at_once_and_ended_in_steps(database: Database, small: int) -> None:
    """No statement touches more than a batch; whoever claims one of the others meanwhile ends it."""
    made = backlogged(database)
    change_endpoint(database, ADMIN, made["id"], EndpointChange(enabled=False))
    assert pending(database) == 12 - small
    left = next(row for row in deliveries(database) if row["status"] == "pending")
    assert claim_delivery(database, left["id"]) is None
    assert sweep(database) == 2
    assert (pending(database), ended(database)) == (0, {"the endpoint is disabled"})
    # Ended deliveries can be recovered.
    change_endpoint(database, ADMIN, made["id"], EndpointChange(enabled=True))
    assert recover(database, ADMIN, made["id"], LONG_AGO) == 12
    assert sweep(database) == 1
    assert pending(database) == 12


def test_disabled_by_us(database: Database, small: int) -> None:
    """With the reason, for each of them."""
    backlogged(database)
    finish(database, claim(database, deliveries(database)[0]), 410)
    assert pending(database) == 11 - small
    sweep(database)
    assert pending(database) == 0
    assert ended(database) == {"it failed", "the endpoint was disabled: the receiver answered 410 Gone"}


def test_one_that_is_under_way_records_its_own_end(database: Database, small: int) -> None:
    made = backlogged(database)
    job = claim(database, deliveries(database)[-1])
    change_endpoint(database, ADMIN, made["id"], EndpointChange(enabled=False))
    sweep(database)
    assert pending(database) == 1
    assert finish(database, job)
    assert pending(database) == 0


def test_deleted_at_once_and_let_go_in_steps(database: Database, small: int) -> None:
    """It is gone for everyone; its history stays readable; its row goes last."""
    made = backlogged(database)
    finish(database, claim(database, deliveries(database)[0]))
    job = claim(database, deliveries(database)[-1])
    delete_endpoint(database, ADMIN, made["id"])
    with pytest.raises(NotFound):
        get_endpoint(database, ADMIN, made["id"])
    with pytest.raises(NotFound):
        recover(database, ADMIN, made["id"], LONG_AGO)
    assert list_endpoints(database, ADMIN, Page()).items == []
    assert one(database, "SELECT count(*) FROM webhook_secrets") == 0
    assert backlog(database).disabled_endpoints == 0
    with pytest.raises(EndpointDisabled, match="deleted"):
        redeliver(database, ADMIN, ids.text(ids.DELIVERY, deliveries(database)[1]["id"]))
    post(database)
    assert len(deliveries(database)) == 12, "nobody is told any more"
    sweep(database)
    assert one(database, "SELECT count(*) FROM webhook_endpoints") == 1
    assert finish(database, job, 500)
    sweep(database)
    assert one(database, "SELECT count(*) FROM webhook_endpoints") == 0
    assert {row["endpoint_id"] for row in deliveries(database)} == {None}
    shown = get_delivery(database, ADMIN, ids.text(ids.DELIVERY, deliveries(database)[5]["id"]))
    assert (shown["status"], shown["last_error"]) == ("exhausted", "the endpoint was deleted")


def test_a_new_url_leads_all_of_a_backlog(database: Database, small: int) -> None:
    """Those beyond the batch are led there when it is their turn."""
    made = backlogged(database)
    change_endpoint(database, ADMIN, made["id"], EndpointChange(url=ELSEWHERE))
    last = next(row for row in deliveries(database) if row["url"] == CALLBACK)
    assert claim(database, last).url == ELSEWHERE
    assert one(database, "SELECT url FROM webhook_deliveries WHERE id = :id", id=last["id"]) == ELSEWHERE


def test_recovered_by_one_statement(database: Database) -> None:
    """Attempts made before are still counted."""
    made = backlogged(database)
    for row in deliveries(database):
        finish(database, claim(database, row), 500, schedule=())
    assert recover(database, ADMIN, made["id"], LONG_AGO) == 12
    found = rows(database, "SELECT DISTINCT status, attempts, retry, last_error, completed_at FROM webhook_deliveries")
    assert found == [{"status": "pending", "attempts": 1, "retry": 0, "last_error": None, "completed_at": None}]


@pytest.mark.parametrize("status", [200, 500])
def test_attempts_do_not_wait_for_their_endpoint(database: Database, status: int) -> None:
    """While the endpoint's row is locked, only an attempt that changes its health waits."""
    backlogged(database, 3)
    first, second, third = deliveries(database)
    if status == 500:
        finish(database, claim(database, first), 500)
    jobs = [claim(database, each) for each in (second, third)]
    with database.transaction() as uow:
        uow.conn.execute(text("SELECT id FROM webhook_endpoints FOR UPDATE"))
        uow.conn.execute(text("SET LOCAL lock_timeout = 0"))
        for job in jobs:
            assert finish(database, job, status)


def test_a_success_after_failures_ends_them(database: Database) -> None:
    """Which takes the lock, and is not missed."""
    backlogged(database, 2)
    first, second = deliveries(database)
    finish(database, claim(database, first), 500)
    assert one(database, "SELECT failing_since FROM webhook_endpoints") is not None
    finish(database, claim(database, second))
    assert one(database, "SELECT failing_since FROM webhook_endpoints") is None


def old_messages(database: Database, count: int) -> None:
    """Older than what is kept; one in three still waits."""
    made = an_endpoint(database)
    message = "INSERT INTO webhook_messages SELECT gen_random_uuid(), 'default', 't', 'b', now() - g * interval '1 day'"
    change(database, f"{message} - interval '100 days' FROM generate_series(1, :n) g", n=count)
    columns = "id, message_id, namespace, endpoint_id, url, lane, status, attempts, retry, created_at, due_at, hint_at"
    waits = "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY created_at) AS n FROM webhook_messages) m"
    change(
        database,
        f"INSERT INTO webhook_deliveries ({columns}) SELECT gen_random_uuid(), id, 'default', :endpoint, 'u', 'l',"
        f" 'pending', 0, 0, now(), now(), now() FROM ({waits} WHERE n % 3 = 0) w",
        endpoint=ids.parse(ids.ENDPOINT, made["id"]),
    )


def test_pruned_in_batches_past_what_stays(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many old ones have to stay, each is looked at once."""
    old_messages(database, 30)
    monkeypatch.setattr(retention, "BATCH", 4)
    assert prune(database, timedelta(days=90))["webhook_messages"] == 20
    assert one(database, "SELECT count(*) FROM webhook_messages") == 10


def test_a_rule_that_takes_too_long_is_not_in_the_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages cannot be deleted, whatever the batch: keys that are long over are, and the log says what it was."""
    old_messages(database, 3)
    key = "INSERT INTO idempotency_keys VALUES ('default', 'k', decode(repeat('00', 32), 'hex'), '{}', :at)"
    change(database, key, at=LONG_AGO)
    monkeypatch.setattr("services.kernel.connection_pool.LOCK_TIMEOUT_MS", 100)
    engine = open_engine(database.engine.url.render_as_string(False), 2, "prune")
    with database.transaction() as uow:
        uow.conn.execute(text("LOCK TABLE webhook_deliveries IN EXCLUSIVE MODE"))
        with pytest.raises(DatabaseUnavailable, match="lock"):
            prune(replace(database, engine=engine), timedelta(days=90))
    engine.dispose()
    assert one(database, "SELECT count(*) FROM idempotency_keys") == 0
    assert one(database, "SELECT count(*) FROM webhook_messages") == 3
    told = [record for record in caplog.records if getattr(record, "table", "") == "webhook_messages"]
    assert ["another transaction held a lock for too long" in record.message for record in told] == [True]


def plans(database: Database, work: Callable[[Database], object]) -> list[str]:
    """How the database would carry out each of the statements of the work."""
    seen: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        work(database)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    found = []
    with database.reading() as conn:
        for statement, parameters in seen:
            if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                found.append("\n".join(conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()))
    return found


def test_indexes_lead_to_what_is_old(database: Database) -> None:
    """Also beyond those that stay."""
    change(
        database,
        "INSERT INTO webhook_messages SELECT gen_random_uuid(), 'default', 't', 'b', now() - g * interval '1 hour'"
        " FROM generate_series(1, 20000) g",
    )
    change(database, "ANALYZE webhook_messages")
    with database.transaction() as uow:
        kept = timedelta(days=90)
        rules = {rule.table.name: rule for rule in retention._rules(uow.now, kept, uow.now - kept, uow.now - kept)}
    for seen in (None, (LONG_AGO + timedelta(days=2_000), UUID(int=1))):
        query = retention.oldest(rules["webhook_messages"], seen, 1_000)
        (found,) = plans(database, partial(run, query))
        assert "ix_webhook_messages_created_at" in found
        assert "Seq Scan" not in found


def run(query: Select[Any], database: Database) -> None:
    with database.reading() as conn:
        conn.execute(query)


def many_notifications(database: Database, count: int) -> None:
    person(database, "anne", "json://a")
    watch = post(database)
    decide_pause(database, REVIEWER, post(database), approve())
    change(
        database,
        "INSERT INTO notifications (id, pause_id, once, namespace, recipient, channel, reason, status, attempts,"
        " created_at, due_at, hint_at) SELECT gen_random_uuid(), :pause, gen_random_uuid(), 'n' || g % 3, 'a', 'json://x',"
        " 'waiting', 'pending', 0, now(), now() - g * interval '1 s', now() - g * interval '1 s'"
        " FROM generate_series(1, :n) g",
        pause=ids.parse(ids.WATCH, watch),
        n=count,
    )
    change(database, "ANALYZE notifications")


def test_a_backlog_of_messages_is_not_read_whole(database: Database) -> None:
    """A sweep takes of each namespace what it needs; what a message's end lets go is found at once."""
    many_notifications(database, 30_000)
    with database.transaction() as uow:
        found = leases.overlooked_ids(uow, NOTIFICATION, spare_leased=False, limit=30)
    counted = "SELECT namespace, count(*) FROM notifications WHERE id = ANY(:ids) GROUP BY 1"
    assert [row["count"] for row in rows(database, counted, ids=list(found))] == [10, 10, 10]

    def wakeup(database: Database) -> None:
        with database.transaction() as uow:
            leases.wake_first(uow, NOTIFICATION, 2)

    for work in (sweep_notifications, wakeup):
        made = [plan for plan in plans(database, work) if "notifications" in plan]
        assert made
        for plan in made:
            assert "Seq Scan on notifications" not in plan
            assert "Sort Key: notifications.due_at" not in plan


def test_an_attempt_is_recorded_without_reading_the_whole_lane(database: Database) -> None:
    """However many wait for one receiver, whose turn is next is found by the index."""
    an_endpoint(database, event_types=("pause.created",))
    post(database)
    # As those of sagas: a pause's next is looked for by itself.
    change(database, "UPDATE webhook_deliveries SET pause_id = NULL")
    job = claim(database, deliveries(database)[0])
    change(
        database,
        "INSERT INTO webhook_deliveries (id, message_id, namespace, endpoint_id, url, lane, status, attempts, retry,"
        " created_at, due_at, hint_at) SELECT gen_random_uuid(), message_id, namespace, endpoint_id, url, lane,"
        " 'pending', 0, 0, now(), now() - random() * interval '1 day', now()"
        " FROM webhook_deliveries, generate_series(1, 8000)",
    )
    change(database, "ANALYZE webhook_deliveries")
    made = [plan for plan in plans(database, lambda database: finish(database, job)) if "due_at <=" in plan]
    assert made
    for plan in made:
        # It expects to stop at the first ten, so a sort of all is never the cheaper way.
        some, whole = (float(cost) for cost in re.findall(r"\.\.([\d.]+) rows", plan)[:2])
        assert some < whole / 10
