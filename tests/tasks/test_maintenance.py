"""The tasks that beat sends, and the objects that a worker process creates once."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from services.kernel.leases import BEAT, LEASE
from services.kernel.unit_of_work import Database
from services.operations import retention
from services.operations.retention import Pruner
from services.pauses.lifecycle import EXPIRY_BATCH
from services.pauses.reminders import ATTEND_BATCH
from services.webhooks.worker import claim_delivery
from tasks import leases, maintenance, runtime
from tasks.heartbeat import KEPT_SECONDS, QUEUE, Heartbeat
from tasks.lazy import Lazy
from tasks.leases import LeaseKeeper
from tests.services.by_watch_id import decide_pause
from tests.services.saga_world import start, step
from tests.services.world import (
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    deliveries,
    due_now,
    one,
    post,
    rows,
    uuid_of,
)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def test_a_sweep_stamps_beat_and_wakes(database: Database, redis: Redis) -> None:
    """The stamp proves that beat works, and the wake-ups are in the queue of webhooks."""
    an_endpoint(database)
    post(database)
    _until(lambda: redis.llen("webhooks") == 1)
    redis.flushdb()
    due_now(database)
    maintenance.sweep_due()
    assert stamped(database) == [BEAT]
    _until(lambda: redis.llen("webhooks") == 1)
    maintenance.sweep_due()
    assert stamped(database) == [BEAT]


def test_a_slow_sweep_holds_up_no_other(database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for again each second: no thread waits behind it, and one more round is enough."""
    released, rounds = threading.Event(), []

    def slow(_: Database, **__: object) -> None:
        rounds.append(1)
        assert released.wait(90)

    monkeypatch.setattr(maintenance, "sweep_deliveries", slow)
    start(database, step("a"))
    _until(lambda: redis.llen("sagas") == 1)
    redis.flushdb()
    change(database, "UPDATE sagas SET hint_at = now() - interval '1 s', due_at = now() - interval '1 s'")
    asking = threading.Thread(target=lambda: [maintenance.sweep_due() for _ in range(5)], daemon=True)
    asking.start()
    try:
        _until(lambda: redis.llen("sagas") == 1)
        asking.join(90)
        assert not asking.is_alive(), "who asks waits for the slow one"
        assert len(rounds) == 1
    finally:
        released.set()
    _until(lambda: len(rounds) == 2)


def stamped(database: Database) -> list[str]:
    return [row["worker"] for row in rows(database, "SELECT worker FROM worker_heartbeats")]


def test_a_worker_sends_itself_a_message(database: Database, redis: Redis) -> None:
    """One at a time, which Redis forgets; the task that takes it stamps the worker."""
    for _ in range(2):
        Heartbeat(redis)
    _until(lambda: redis.llen(QUEUE.name) == 1)
    assert 0 < redis.ttl(QUEUE.name) <= KEPT_SECONDS
    message = json.loads(str(redis.lrange(QUEUE.name, 0, -1)[0], "utf-8"))
    assert message["headers"]["task"] == maintenance.alive.name
    maintenance.alive("any")
    assert stamped(database) == [runtime.worker_name()]


def expired(database: Database, count: int) -> None:
    columns = "id, created_at, expires_at, revision, priority, namespace, kind, status, on_timeout, created_by, action"
    values = "gen_random_uuid(), now(), now(), 1, 0, 'default', 'agent', 'pending', 'expire', 'k', 'a'"
    insert = f"INSERT INTO pauses ({columns}, stage, reminders) SELECT {values}, 0, 0 FROM generate_series(1, :n)"
    change(database, insert, n=count)


def test_expiry_goes_on_until_nothing_is_left(database: Database) -> None:
    """More than one batch in one task."""
    expired(database, EXPIRY_BATCH + 3)
    maintenance.expire_pauses()
    assert one(database, "SELECT count(*) FROM pauses WHERE status = 'expired'") == EXPIRY_BATCH + 3


def test_expiry_ends_when_its_time_is_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next second's task goes on."""
    monkeypatch.setattr(maintenance, "BUDGET_SECONDS", 0.0)
    expired(database, EXPIRY_BATCH + 3)
    maintenance.expire_pauses()
    assert one(database, "SELECT count(*) FROM pauses WHERE status = 'expired'") == EXPIRY_BATCH


def test_reviews_are_attended_to_batch_after_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until nothing is left, or the time is up."""
    review = {"remind_after": [60]}
    for _ in range(ATTEND_BATCH + 2):
        post(database, review=review)
    change(database, "UPDATE pauses SET created_at = now() - interval '60 s', attend_at = now()")
    left = "SELECT count(*) FROM pauses WHERE attend_at IS NOT NULL"
    with monkeypatch.context() as hurried:
        hurried.setattr(maintenance, "BUDGET_SECONDS", 0.0)
        maintenance.attend_reviews()
    assert one(database, left) == 2
    maintenance.attend_reviews()
    assert one(database, left) == 0


def test_prune_keeps_for_as_long_as_the_setting_says(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is 190 days."""
    monkeypatch.setattr(retention, "PASS_EVERY", 0.0)
    for days in (189, 191):
        watch_id = post(database)
        decide_pause(database, REVIEWER, watch_id, approve())
        moved = "UPDATE pauses SET resolved_at = now() - make_interval(days => :days) WHERE id = :id"
        change(database, moved, days=days, id=uuid_of(watch_id))
    maintenance.prune()
    assert one(database, "SELECT count(*) FROM pauses") == 1


def test_prune_ends_in_time_and_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call without time deletes one batch; the next calls pass the rows that stay, reach the last, and say so."""
    caplog.set_level("INFO")
    monkeypatch.setattr(maintenance, "PRUNE_SECONDS", 0.0)
    monkeypatch.setattr(maintenance, "_pruner", Lazy(lambda: Pruner(database, timedelta(days=90))))
    monkeypatch.setattr(retention, "BATCH", 2)
    message = "INSERT INTO webhook_messages SELECT gen_random_uuid(), 'default', 't', 'b', now() - g * interval '1 day'"
    change(database, f"{message} - interval '100 days' FROM generate_series(1, 9) g")
    # The oldest five wait.
    columns = "id, message_id, namespace, url, lane, status, attempts, retry, created_at, due_at, hint_at"
    change(
        database,
        f"INSERT INTO webhook_deliveries ({columns}) SELECT gen_random_uuid(), id, 'default', 'u', 'l', 'pending', 0,"
        " 0, now(), now(), now() FROM (SELECT id FROM webhook_messages ORDER BY created_at LIMIT 5) waiting",
    )
    count = "SELECT count(*) FROM webhook_messages"
    calls = 0
    while one(database, count) > 5:
        maintenance.prune()
        calls += 1
        assert calls < 100, "the rows that stay are never passed"
    assert calls > 5
    unfinished = [getattr(record, "unfinished", []) for record in caplog.records if "prune" in record.message]
    assert "webhook_messages" in unfinished[0]


def test_leases_are_kept_while_the_work_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over and over, through a database that fails in between; and not a moment longer."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    an_endpoint(database)
    post(database)
    (row,) = deliveries(database)
    job = claim_delivery(database, row["id"])
    assert job is not None
    keeper = LeaseKeeper(database)
    run_out = "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s'"

    def kept() -> bool:
        return bool(one(database, "SELECT leased_until > now() FROM webhook_deliveries"))

    with keeper.keeping(job.lease):
        for _ in range(2):
            change(database, run_out)
            _until(kept)
        with monkeypatch.context() as away:
            failed = threading.Event()
            away.setattr(leases, "renew", lambda *_: failed.set() or 1 / 0)
            change(database, run_out)
            assert failed.wait(90)
        _until(kept)
    assert deliveries(database)[0]["leased_until"] <= datetime.now(UTC) + LEASE + timedelta(seconds=1)


def test_made_once_however_many_come_first() -> None:
    """Sixteen threads at the same moment share one."""
    made: list[object] = []
    entered = threading.Event()

    @Lazy
    def thing() -> object:
        made.append(object())
        entered.wait(0.05)  # long enough for the others to come in, if they could
        return made[-1]

    found = at_once([thing] * 16)
    assert len(made) == 1
    assert all(each is made[0] for each in found)
    assert thing() is made[0]


def test_a_failure_is_not_remembered() -> None:
    """The next one tries again; also None is a value that was made."""
    calls: list[int] = []

    @Lazy
    def thing() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        thing()
    assert thing() is None
    assert thing() is None
    assert len(calls) == 2


def test_a_worker_has_one_of_each(database: Database) -> None:
    """One pool, one publisher thread, one heartbeat."""
    for make in (runtime.settings, runtime.database, runtime.egress, runtime.leases, runtime.worker_name):
        assert len({id(each) for each in at_once([make] * 16)}) == 1
    assert runtime.database() is database
    assert [thread.name for thread in threading.enumerate()].count("leases") >= 1
