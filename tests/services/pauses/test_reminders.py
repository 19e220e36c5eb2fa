"""People are told that a review waits, told again, and others are added: each once, by however many sweeps."""

from typing import Any

from domain.pauses.pause import OnTimeout
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import get_pause
from services.pauses.reminders import ATTEND_BATCH, attend_due
from services.reviews.decisions import decide_pause
from tests.services.people import notifications
from tests.services.reviewers import voter
from tests.services.world import REVIEWER, an_endpoint, approve, at_once, change, deliveries, post, rows, uuid_of


def told(store: Store) -> list[tuple[str, str]]:
    return [(row["recipient"].partition("@")[0], row["reason"]) for row in notifications(store)]


def let_pass(store: Store, seconds: int) -> None:
    change(
        store,
        "UPDATE pauses SET created_at = created_at - :s * interval '1 s', attend_at = attend_at - :s * interval '1 s'",
        s=seconds,
    )


def attention(store: Store) -> dict[str, Any]:
    (row,) = rows(
        store, "SELECT attend_at IS NOT NULL AS more, reminders, escalated_at IS NOT NULL AS more_people FROM pauses"
    )
    return row


def test_told_at_once_and_reminded(store: Store) -> None:
    """As often as the policy says."""
    voter(store, "anne", channels=["json://a"])
    post(store, review={"remind_after": [60, 120]})
    assert [attend_due(store), attend_due(store)] == [1, 0]
    assert told(store) == [("anne", "waiting")]
    let_pass(store, 60)
    assert [attend_due(store), attend_due(store)] == [1, 0]
    let_pass(store, 60)
    assert attend_due(store) == 1
    assert told(store) == [("anne", "waiting"), ("anne", "reminder"), ("anne", "reminder")]
    assert attention(store) == {"more": False, "reminders": 2, "more_people": False}


def test_where_nobody_listens_nothing_is_due(store: Store) -> None:
    """The usual pause costs the sweep nothing; a reminder still comes, as people may listen by then."""
    post(store)
    assert attention(store)["more"] is False
    assert attend_due(store) == 0
    change(store, "DELETE FROM pauses")
    post(store, review={"remind_after": [60]})
    assert attention(store)["more"] is True
    assert attend_due(store) == 0


def test_escalated_by_two_sweeps_at_once(store: Store) -> None:
    """One message for each, one webhook; whoever was asked before is asked still."""
    an_endpoint(store, event_types=("pause.escalated",))
    voter(store, "anne", "ops", channels=["json://a"])
    lead = voter(store, "lead", "leads", channels=["json://l"])
    watch_id = post(store, review={"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}})
    attend_due(store)
    let_pass(store, 60)
    assert sorted(at_once([lambda: attend_due(store)] * 4), key=str) == [0, 0, 0, 1]
    assert told(store)[0] == ("anne", "waiting")
    assert sorted(told(store)[1:]) == [("anne", "escalated"), ("lead", "escalated")]
    assert [delivery["type"] for delivery in deliveries(store)] == ["pause.escalated"]
    assert decide_pause(store, lead, watch_id, approve(lead))["status"] == "approved"


def test_many_sweeps_and_decisions_at_once(store: Store) -> None:
    """What is decided is not escalated any more, and nothing is told twice."""
    an_endpoint(store, event_types=("pause.escalated", "pause.approved"))
    anne = voter(store, "anne", "ops", channels=["json://a"])
    review = {"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}}
    held = [post(store, review=review) for _ in range(10)]
    let_pass(store, 60)
    decisions = [lambda each=each: decide_pause(store, anne, each, approve(anne)) for each in held]
    answers = at_once([*decisions, *[lambda: attend_due(store)] * 4])
    assert all(answer["status"] == "approved" for answer in answers[:10])  # type: ignore[index]
    for watch_id in held:
        of_it = [row["type"] for row in deliveries(store) if row["pause_id"] == uuid_of(watch_id)]
        assert of_it in (["pause.approved"], ["pause.escalated", "pause.approved"])
    assert attend_due(store) == 0


def test_another_stage_tells_its_people(store: Store) -> None:
    """And an edit tells those who have to look again."""
    anne = voter(store, "anne", "ops", channels=["json://a"])
    cara = voter(store, "cara", "finance", channels=["json://c"])
    watch_id = post(store, arguments={"n": 1}, review={"stages": [{"groups": ["ops"]}, {"groups": ["finance"]}]})
    attend_due(store)
    decide_pause(store, anne, watch_id, approve(anne))
    attend_due(store)
    assert told(store) == [("anne", "waiting"), ("cara", "waiting")]
    decide_pause(store, cara, watch_id, approve(cara, arguments={"n": 2}))
    attend_due(store)
    assert told(store)[2:] == [("anne", "waiting")]


def test_what_has_run_out_is_not_told_of(store: Store) -> None:
    """The sweep that comes first lets it expire, or escalates it."""
    voter(store, "anne", "ops", channels=["json://a"])
    ended = post(store)
    review = {"groups": ["ops"], "escalate": {"to": {"groups": ["leads"]}}}
    open_ = post(store, review=review, on_timeout=OnTimeout.ESCALATE)
    change(store, "UPDATE pauses SET created_at = now() - interval '1 h', expires_at = now()")
    assert attend_due(store) == 2
    assert get_pause(store, REVIEWER, ended).status == "expired"
    assert get_pause(store, REVIEWER, open_).escalated_at is not None
    assert set(told(store)) == {("anne", "escalated"), ("anne", "waiting")}


def test_a_sweep_takes_a_batch(store: Store) -> None:
    """However much there is, one transaction stays short."""
    voter(store, "anne")
    for _ in range(ATTEND_BATCH + 1):
        post(store, review={"remind_after": [60]})
    let_pass(store, 60)
    assert [attend_due(store), attend_due(store)] == [ATTEND_BATCH, 1]
