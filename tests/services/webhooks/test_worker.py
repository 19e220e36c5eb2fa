"""Claims and results of deliveries: leases, order, lanes, sweeps, the retry schedule and endpoint health."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.devstack.waiting import wait_until
from domain.delivery.webhook import AttemptOutcome
from services.kernel.connection_pool import open_engine
from services.kernel.leases import LEASE, WAKE_AGAIN_AFTER, renew
from services.kernel.unit_of_work import Database, WakeUp
from services.webhooks.deliveries import get_delivery
from services.webhooks.worker import CLAIMS_AT_ONCE, LANE_WIDTH, claim_delivery, record_attempt, sweep_deliveries
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    CALLBACK,
    REVIEWER,
    SCHEDULE,
    an_endpoint,
    approve,
    at_once,
    attempt,
    change,
    claim,
    deliveries,
    due_now,
    finish,
    one,
    post,
)


@pytest.fixture
def delivery(database: Database) -> dict[str, Any]:
    """A delivery that waits: to an endpoint, about a new pause."""
    an_endpoint(database)
    post(database)
    (made,) = deliveries(database)
    return made


def again(database: Database) -> dict[str, Any]:
    """The only delivery, as it is now."""
    (found,) = deliveries(database)
    return found


def lose_lease(database: Database) -> None:
    change(
        database, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL"
    )


def test_fifty_wake_ups_one_claim(database: Database, delivery: dict[str, Any]) -> None:
    """A duplicate wake-up changes nothing."""
    found = at_once([lambda: claim_delivery(database, delivery["id"])] * 20)
    assert len([job for job in found if job is not None]) == 1
    assert claim_delivery(database, delivery["id"]) is None


def test_a_delivery_job_has_all_that_an_attempt_needs(database: Database) -> None:
    """Where to, what, with which headers, signed by which secret."""
    made = an_endpoint(database, headers={"x-team": "ops"})
    post(database)
    job = claim(database, again(database))
    assert (job.url, job.headers, job.secrets) == (CALLBACK, {"x-team": "ops"}, [made["secret"]])
    assert (job.body, job.message_id) == (again(database)["body"], again(database)["message_id"])


def test_success(database: Database, delivery: dict[str, Any]) -> None:
    """Done is done: no further claim, and the attempt is on record."""
    assert finish(database, claim(database, delivery), excerpt="thanks")
    done = again(database)
    assert (done["status"], done["attempts"], done["lease_token"], done["last_error"]) == ("delivered", 1, None, None)
    assert claim_delivery(database, delivery["id"]) is None
    shown = get_delivery(database, ADMIN, f"dlv_{delivery['id'].hex}")
    (made,) = shown["attempts_made"]
    assert (made["number"], made["outcome"], made["status_code"], made["excerpt"]) == (1, "succeeded", 200, "thanks")
    assert shown["next_attempt_at"] is None


def test_the_schedule_to_its_end(database: Database, delivery: dict[str, Any]) -> None:
    """Not before it is due; each failure is kept; after the last place it is exhausted."""
    waits = []
    for number in range(len(SCHEDULE) + 1):
        assert finish(database, claim(database, delivery), 500 + number)
        waits.append(round((again(database)["due_at"] - datetime.now(UTC)).total_seconds(), -1))
        if number < len(SCHEDULE):
            assert claim_delivery(database, delivery["id"]) is None
            due_now(database)
    assert waits[:2] == [round(seconds, -1) for seconds in SCHEDULE]
    done = again(database)
    assert (done["status"], done["attempts"]) == ("exhausted", 3)
    shown = get_delivery(database, ADMIN, f"dlv_{delivery['id'].hex}")["attempts_made"]
    assert [(made["number"], made["status_code"]) for made in shown] == [(1, 500), (2, 501), (3, 502)]


def test_a_superseded_workers_result_is_dropped(database: Database, delivery: dict[str, Any]) -> None:
    """Its lease ran out, another took over: only that one's result counts, in whatever order they come."""
    stale = claim(database, delivery)
    lose_lease(database)
    fresh = claim(database, delivery)
    assert not finish(database, stale)
    assert again(database)["status"] == "pending"
    assert finish(database, fresh, 500)
    assert not finish(database, stale)
    assert not finish(database, fresh)
    assert (again(database)["status"], again(database)["attempts"]) == ("pending", 1)


def test_a_lease_that_ran_out_but_was_not_taken_still_counts(database: Database, delivery: dict[str, Any]) -> None:
    """A result is a result."""
    job = claim(database, delivery)
    lose_lease(database)
    assert finish(database, job)


def test_renewing_keeps_a_lease(database: Database, delivery: dict[str, Any]) -> None:
    """One heartbeat moves the end of all that are held, and nothing else."""
    job = claim(database, delivery)
    lose_lease(database)
    renew(database, [job.lease])
    assert claim_delivery(database, delivery["id"]) is None
    left = again(database)["leased_until"] - datetime.now(UTC)
    assert LEASE - timedelta(seconds=5) < left <= LEASE + timedelta(seconds=1)
    finish(database, job)
    renew(database, [job.lease])
    renew(database, [])
    assert again(database)["lease_token"] is None


def test_a_sweep_wakes_missed_deliveries_once_in_a_while(
    database: Database, publisher: Recorded, delivery: dict[str, Any]
) -> None:
    """Not within WAKEUP_GRACE, not twice within WAKE_AGAIN_AFTER, not while leased, not when done."""
    publisher.wakeups.clear()
    assert sweep_deliveries(database) == 0
    due_now(database)
    assert sweep_deliveries(database) == 1
    assert publisher.wakeups == [WakeUp("webhook", delivery["id"])]
    assert sweep_deliveries(database) == 0
    left = again(database)["hint_at"] - datetime.now(UTC)
    assert WAKE_AGAIN_AFTER - timedelta(seconds=5) < left <= WAKE_AGAIN_AFTER
    due_now(database)
    job = claim(database, delivery)
    change(database, "UPDATE webhook_deliveries SET hint_at = now()")
    assert sweep_deliveries(database) == 0
    lose_lease(database)
    assert sweep_deliveries(database) == 1
    finish(database, job)
    change(database, "UPDATE webhook_deliveries SET hint_at = now()")
    assert sweep_deliveries(database) == 0


def test_two_sweeps_at_once_wake_once(database: Database, publisher: Recorded) -> None:
    """Any number of beats may run."""
    an_endpoint(database)
    for _ in range(10):
        post(database)
    due_now(database)
    publisher.wakeups.clear()
    assert sum(at_once([lambda: sweep_deliveries(database)] * 4)) == 10  # type: ignore[arg-type]
    assert len({wakeup.id for wakeup in publisher.wakeups}) == len(publisher.wakeups) == 10


def test_a_delivery_that_is_not_due_is_neither_claimed_nor_woken(database: Database, delivery: dict[str, Any]) -> None:
    """A wake-up that comes too early does nothing."""
    change(database, "UPDATE webhook_deliveries SET due_at = now() + interval '1 min', hint_at = now()")
    assert claim_delivery(database, delivery["id"]) is None
    assert sweep_deliveries(database) == 0


@pytest.fixture
def pair(database: Database) -> list[dict[str, Any]]:
    """Two messages about one pause to one endpoint."""
    an_endpoint(database)
    decide_pause(database, REVIEWER, post(database), approve())
    return deliveries(database)


def test_the_second_about_a_pause_waits_for_the_first(
    database: Database, publisher: Recorded, pair: list[dict[str, Any]]
) -> None:
    """Until it is delivered, whether that waits, is under way or is to be tried again; then it is hinted at."""
    created, approved = pair
    assert claim_delivery(database, approved["id"]) is None
    job = claim(database, created)
    assert claim_delivery(database, approved["id"]) is None
    due_now(database)
    assert sweep_deliveries(database) == 0
    finish(database, job, 500)
    assert claim_delivery(database, approved["id"]) is None
    due_now(database)
    publisher.wakeups.clear()
    finish(database, claim(database, created))
    assert WakeUp("webhook", approved["id"]) in publisher.wakeups
    claim(database, approved)


def test_the_second_is_let_go_when_the_first_is_exhausted(
    database: Database, publisher: Recorded, pair: list[dict[str, Any]]
) -> None:
    """One message that cannot be delivered does not silence the others."""
    created, approved = pair
    publisher.wakeups.clear()
    finish(database, claim(database, created), 500, schedule=())
    assert publisher.wakeups == [WakeUp("webhook", approved["id"])]
    claim(database, approved)


def test_order_binds_neither_other_pauses_nor_other_receivers(database: Database) -> None:
    """Deliveries to a receiver that is down do not delay others."""
    an_endpoint(database)
    an_endpoint(database)
    decide_pause(database, REVIEWER, post(database), approve())
    post(database)
    first, second = (row["endpoint_id"] for row in deliveries(database)[:2])
    of_first = [row for row in deliveries(database) if row["endpoint_id"] == first]
    of_second = [row for row in deliveries(database) if row["endpoint_id"] == second]
    claim(database, of_first[0])
    finish(database, claim(database, of_second[0]))
    claim(database, of_second[1])
    claim(database, of_first[2])


def test_a_lane_has_room_for_ten(database: Database, publisher: Recorded) -> None:
    """A slow receiver does not take every thread; each that is done lets another go; a dead worker's do not count."""
    an_endpoint(database)
    for _ in range(LANE_WIDTH + 2):
        post(database)
    *ten, eleventh, twelfth = deliveries(database)
    jobs = [claim(database, row) for row in ten]
    assert claim_delivery(database, eleventh["id"]) is None
    due_now(database)
    assert sweep_deliveries(database) == 0
    publisher.wakeups.clear()
    finish(database, jobs[0], 500)
    assert publisher.wakeups == [WakeUp("webhook", eleventh["id"])]
    claim(database, eleventh)
    assert claim_delivery(database, twelfth["id"]) is None
    lose_lease(database)
    claim(database, twelfth)


def test_claims_at_the_same_time_do_not_overfill_a_lane(database: Database) -> None:
    """A burst of wake-ups in as many threads leaves at most ten deliveries under way."""
    an_endpoint(database)
    for _ in range(LANE_WIDTH * 2):
        post(database)
    found = at_once([lambda row=row: claim_delivery(database, row["id"]) for row in deliveries(database)])
    assert not [job for job in found if isinstance(job, Exception)]
    assert len([job for job in found if job is not None]) == LANE_WIDTH


def test_a_flood_to_one_receiver_leaves_connections_free(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims that wait for their lane's lock do not take the whole pool: other use cases still get a connection."""
    monkeypatch.setattr("services.kernel.connection_pool.POOL_TIMEOUT_SECONDS", 1)
    an_endpoint(database)
    for _ in range(LANE_WIDTH * 2):
        post(database)
    found = deliveries(database)
    engine = open_engine(database.engine.url.render_as_string(False), CLAIMS_AT_ONCE + 2, "flood")
    busy = replace(database, engine=engine)
    with ThreadPoolExecutor(len(found)) as threads:
        with database.transaction() as uow:
            uow.take_advisory_lock(found[0]["lane"])
            claims = [threads.submit(claim_delivery, busy, row["id"]) for row in found]
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            assert wait_until(lambda: one(database, waiting) >= CLAIMS_AT_ONCE, within=90)
            post(busy)
        jobs = [each.result() for each in claims]
    engine.dispose()
    assert len([job for job in jobs if job is not None]) == LANE_WIDTH


def test_a_busy_lane_stays_filled(database: Database, publisher: Recorded) -> None:
    """Ten that end at the same moment let ten others go, though each looks only once."""
    an_endpoint(database)
    for _ in range(LANE_WIDTH * 3):
        post(database)
    jobs = [claim(database, row) for row in deliveries(database)[:LANE_WIDTH]]
    publisher.wakeups.clear()
    at_once([lambda job=job: finish(database, job) for job in jobs])
    claimed = [wakeup for wakeup in publisher.wakeups if claim_delivery(database, wakeup.id) is not None]
    assert len(claimed) == LANE_WIDTH


def test_outcomes_are_recorded_as_they_were(database: Database, delivery: dict[str, Any]) -> None:
    """Blocked and timed-out attempts are distinct from refused ones."""
    with database.transaction() as uow:
        now = uow.now
    for outcome in (AttemptOutcome.BLOCKED, AttemptOutcome.TIMED_OUT):
        due_now(database)
        record_attempt(database, claim(database, delivery).lease, attempt(outcome, now), SCHEDULE, 0.5)
    shown = get_delivery(database, ADMIN, f"dlv_{delivery['id'].hex}")
    assert [made["outcome"] for made in shown["attempts_made"]] == ["blocked", "timed_out"]
    assert (shown["last_error"], shown["attempts"]) == ("it timed_out", 2)


def test_retry_after_is_kept_to(database: Database, delivery: dict[str, Any]) -> None:
    """Whatever the receiver writes into it, the attempt is recorded."""
    finish(database, claim(database, delivery), 503, retry_after="600")
    assert again(database)["due_at"] - datetime.now(UTC) > timedelta(seconds=500)
    due_now(database)
    assert finish(database, claim(database, delivery), 503, retry_after="Sun, 01 Mar 2026 12:00:00 +" + "9" * 30)
