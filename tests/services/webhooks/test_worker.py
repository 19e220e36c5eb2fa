"""Claims and results of deliveries: leases, order, lanes, sweeps, the retry schedule and what becomes of endpoints."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.delivery.webhook import AttemptOutcome
from services.kernel.leases import HINT_AGAIN, LEASE, renew
from services.kernel.unit_of_work import Hint, Store
from services.reviews.decisions import decide_pause
from services.webhooks.deliveries import get_delivery
from services.webhooks.worker import LANE_WIDTH, claim_delivery, record_attempt, sweep_deliveries
from tests.conftest import Recorded
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
    post,
)


@pytest.fixture
def delivery(store: Store) -> dict[str, Any]:
    """A delivery that waits: to an endpoint, about a new pause."""
    an_endpoint(store)
    post(store)
    (made,) = deliveries(store)
    return made


def again(store: Store) -> dict[str, Any]:
    """The only delivery, as it is now."""
    (found,) = deliveries(store)
    return found


def lose_lease(store: Store) -> None:
    change(store, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL")


def test_fifty_hints_one_claim(store: Store, delivery: dict[str, Any]) -> None:
    """A doubled hint changes nothing."""
    found = at_once([lambda: claim_delivery(store, delivery["id"])] * 20)
    assert len([parcel for parcel in found if parcel is not None]) == 1
    assert claim_delivery(store, delivery["id"]) is None


def test_a_parcel_is_all_that_is_needed(store: Store) -> None:
    """Where to, what, with which headers, signed by which secret."""
    made = an_endpoint(store, headers={"x-team": "ops"})
    post(store)
    parcel = claim(store, again(store))
    assert (parcel.url, parcel.headers, parcel.secrets) == (CALLBACK, {"x-team": "ops"}, [made["secret"]])
    assert (parcel.body, parcel.message_id) == (again(store)["body"], again(store)["message_id"])


def test_success(store: Store, delivery: dict[str, Any]) -> None:
    """Done is done: no further claim, and the attempt is on record."""
    assert finish(store, claim(store, delivery), excerpt="thanks")
    done = again(store)
    assert (done["status"], done["attempts"], done["lease_token"], done["last_error"]) == ("delivered", 1, None, None)
    assert claim_delivery(store, delivery["id"]) is None
    shown = get_delivery(store, ADMIN, f"dlv_{delivery['id'].hex}")
    (made,) = shown["attempts_made"]
    assert (made["number"], made["outcome"], made["status_code"], made["excerpt"]) == (1, "succeeded", 200, "thanks")
    assert shown["next_attempt_at"] is None


def test_the_schedule_to_its_end(store: Store, delivery: dict[str, Any]) -> None:
    """Not before it is due; each failure is kept; after the last place it is exhausted."""
    waits = []
    for number in range(len(SCHEDULE) + 1):
        assert finish(store, claim(store, delivery), 500 + number)
        waits.append(round((again(store)["due_at"] - datetime.now(UTC)).total_seconds(), -1))
        if number < len(SCHEDULE):
            assert claim_delivery(store, delivery["id"]) is None
            due_now(store)
    assert waits[:2] == [round(seconds, -1) for seconds in SCHEDULE]
    done = again(store)
    assert (done["status"], done["attempts"]) == ("exhausted", 3)
    shown = get_delivery(store, ADMIN, f"dlv_{delivery['id'].hex}")["attempts_made"]
    assert [(made["number"], made["status_code"]) for made in shown] == [(1, 500), (2, 501), (3, 502)]


def test_a_superseded_workers_result_is_dropped(store: Store, delivery: dict[str, Any]) -> None:
    """Its lease ran out, another took over: only that one's result counts, in whatever order they come."""
    stale = claim(store, delivery)
    lose_lease(store)
    fresh = claim(store, delivery)
    assert not finish(store, stale)
    assert again(store)["status"] == "pending"
    assert finish(store, fresh, 500)
    assert not finish(store, stale)
    assert not finish(store, fresh)
    assert (again(store)["status"], again(store)["attempts"]) == ("pending", 1)


def test_a_lease_that_ran_out_but_was_not_taken_still_counts(store: Store, delivery: dict[str, Any]) -> None:
    """A result is a result."""
    parcel = claim(store, delivery)
    lose_lease(store)
    assert finish(store, parcel)


def test_renewing_keeps_a_lease(store: Store, delivery: dict[str, Any]) -> None:
    """One heartbeat moves the end of all that are held, and nothing else."""
    parcel = claim(store, delivery)
    lose_lease(store)
    renew(store, [parcel.lease])
    assert claim_delivery(store, delivery["id"]) is None
    left = again(store)["leased_until"] - datetime.now(UTC)
    assert LEASE - timedelta(seconds=5) < left <= LEASE + timedelta(seconds=1)
    finish(store, parcel)
    renew(store, [parcel.lease])
    renew(store, [])
    assert again(store)["lease_token"] is None


def test_a_sweep_hints_at_what_was_missed_and_not_again_at_once(
    store: Store, signals: Recorded, delivery: dict[str, Any]
) -> None:
    """Not in the grace of the first hint, not twice within HINT_AGAIN, not while leased, not when done."""
    signals.hints.clear()
    assert sweep_deliveries(store) == 0
    due_now(store)
    assert sweep_deliveries(store) == 1
    assert signals.hints == [Hint("webhook", delivery["id"])]
    assert sweep_deliveries(store) == 0
    left = again(store)["hint_at"] - datetime.now(UTC)
    assert HINT_AGAIN - timedelta(seconds=5) < left <= HINT_AGAIN
    due_now(store)
    parcel = claim(store, delivery)
    change(store, "UPDATE webhook_deliveries SET hint_at = now()")
    assert sweep_deliveries(store) == 0
    lose_lease(store)
    assert sweep_deliveries(store) == 1
    finish(store, parcel)
    change(store, "UPDATE webhook_deliveries SET hint_at = now()")
    assert sweep_deliveries(store) == 0


def test_two_sweeps_at_once_hint_once(store: Store, signals: Recorded) -> None:
    """Any number of beats may run."""
    an_endpoint(store)
    for _ in range(10):
        post(store)
    due_now(store)
    signals.hints.clear()
    assert sum(at_once([lambda: sweep_deliveries(store)] * 4)) == 10  # type: ignore[arg-type]
    assert len({hint.id for hint in signals.hints}) == len(signals.hints) == 10


def test_not_due_yet_is_neither_claimed_nor_hinted(store: Store, delivery: dict[str, Any]) -> None:
    """A hint that comes too early is nothing."""
    change(store, "UPDATE webhook_deliveries SET due_at = now() + interval '1 min', hint_at = now()")
    assert claim_delivery(store, delivery["id"]) is None
    assert sweep_deliveries(store) == 0


@pytest.fixture
def pair(store: Store) -> list[dict[str, Any]]:
    """Two messages about one pause to one endpoint."""
    an_endpoint(store)
    decide_pause(store, REVIEWER, post(store), approve())
    return deliveries(store)


def test_the_second_about_a_pause_waits_for_the_first(
    store: Store, signals: Recorded, pair: list[dict[str, Any]]
) -> None:
    """Until it is delivered, whether that waits, is under way or is to be tried again; then it is hinted at."""
    created, approved = pair
    assert claim_delivery(store, approved["id"]) is None
    parcel = claim(store, created)
    assert claim_delivery(store, approved["id"]) is None
    due_now(store)
    assert sweep_deliveries(store) == 0
    finish(store, parcel, 500)
    assert claim_delivery(store, approved["id"]) is None
    due_now(store)
    signals.hints.clear()
    finish(store, claim(store, created))
    assert Hint("webhook", approved["id"]) in signals.hints
    claim(store, approved)


def test_the_second_is_let_go_when_the_first_is_exhausted(
    store: Store, signals: Recorded, pair: list[dict[str, Any]]
) -> None:
    """One message that cannot be delivered does not silence the others."""
    created, approved = pair
    signals.hints.clear()
    finish(store, claim(store, created), 500, schedule=())
    assert signals.hints == [Hint("webhook", approved["id"])]
    claim(store, approved)


def test_order_binds_neither_other_pauses_nor_other_receivers(store: Store) -> None:
    """What waits for a receiver that is down holds up nobody else."""
    an_endpoint(store)
    an_endpoint(store)
    decide_pause(store, REVIEWER, post(store), approve())
    post(store)
    first, second = (row["endpoint_id"] for row in deliveries(store)[:2])
    of_first = [row for row in deliveries(store) if row["endpoint_id"] == first]
    of_second = [row for row in deliveries(store) if row["endpoint_id"] == second]
    claim(store, of_first[0])
    finish(store, claim(store, of_second[0]))
    claim(store, of_second[1])
    claim(store, of_first[2])


def test_a_lane_has_room_for_ten(store: Store, signals: Recorded) -> None:
    """A slow receiver does not take every thread; each that is done lets another go; a dead worker's do not count."""
    an_endpoint(store)
    for _ in range(LANE_WIDTH + 2):
        post(store)
    *ten, eleventh, twelfth = deliveries(store)
    parcels = [claim(store, row) for row in ten]
    assert claim_delivery(store, eleventh["id"]) is None
    due_now(store)
    assert sweep_deliveries(store) == 0
    signals.hints.clear()
    finish(store, parcels[0], 500)
    assert signals.hints == [Hint("webhook", eleventh["id"])]
    claim(store, eleventh)
    assert claim_delivery(store, twelfth["id"]) is None
    lose_lease(store)
    claim(store, twelfth)


def test_claims_at_the_same_time_do_not_overfill_a_lane(store: Store) -> None:
    """A burst of hints, as many threads: still no more than ten under way."""
    an_endpoint(store)
    for _ in range(LANE_WIDTH * 2):
        post(store)
    found = at_once([lambda row=row: claim_delivery(store, row["id"]) for row in deliveries(store)])
    assert not [parcel for parcel in found if isinstance(parcel, Exception)]
    assert len([parcel for parcel in found if parcel is not None]) == LANE_WIDTH


def test_a_busy_lane_stays_filled(store: Store, signals: Recorded) -> None:
    """Ten that end at the same moment let ten others go, though each looks only once."""
    an_endpoint(store)
    for _ in range(LANE_WIDTH * 3):
        post(store)
    parcels = [claim(store, row) for row in deliveries(store)[:LANE_WIDTH]]
    signals.hints.clear()
    at_once([lambda parcel=parcel: finish(store, parcel) for parcel in parcels])
    claimed = [hint for hint in signals.hints if claim_delivery(store, hint.id) is not None]
    assert len(claimed) == LANE_WIDTH


def test_outcomes_are_recorded_as_they_were(store: Store, delivery: dict[str, Any]) -> None:
    """Blocked and timed out are told apart from refused."""
    with store.transaction() as tx:
        now = tx.now
    for outcome in (AttemptOutcome.BLOCKED, AttemptOutcome.TIMED_OUT):
        due_now(store)
        record_attempt(store, claim(store, delivery).lease, attempt(outcome, now), SCHEDULE, 0.5)
    shown = get_delivery(store, ADMIN, f"dlv_{delivery['id'].hex}")
    assert [made["outcome"] for made in shown["attempts_made"]] == ["blocked", "timed_out"]
    assert (shown["last_error"], shown["attempts"]) == ("it timed_out", 2)


def test_retry_after_is_kept_to(store: Store, delivery: dict[str, Any]) -> None:
    """Whatever the receiver writes into it, the attempt is recorded."""
    finish(store, claim(store, delivery), 503, retry_after="600")
    assert again(store)["due_at"] - datetime.now(UTC) > timedelta(seconds=500)
    due_now(store)
    assert finish(store, claim(store, delivery), 503, retry_after="Sun, 01 Mar 2026 12:00:00 +" + "9" * 30)
