"""Notification of a waiting review, reminder and escalation: each happens once, by however many sweeps."""

from typing import Any

from domain.pauses.pause import OnTimeout
from services.kernel.unit_of_work import Database
from services.pauses.reminders import ATTEND_BATCH, attend_due
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.people import notifications
from tests.services.reviewers import voter
from tests.services.world import REVIEWER, an_endpoint, approve, at_once, change, deliveries, post, rows, uuid_of


def told(database: Database) -> list[tuple[str, str]]:
    return [(row["recipient"].partition("@")[0], row["reason"]) for row in notifications(database)]


def let_pass(database: Database, seconds: int) -> None:
    change(
        database,
        "UPDATE pauses SET created_at = created_at - :s * interval '1 s', attend_at = attend_at - :s * interval '1 s'",
        s=seconds,
    )


def attention(database: Database) -> dict[str, Any]:
    (row,) = rows(
        database, "SELECT attend_at IS NOT NULL AS more, reminders, escalated_at IS NOT NULL AS more_people FROM pauses"
    )
    return row


def test_notified_at_once_and_reminded(database: Database) -> None:
    """As often as the policy says."""
    voter(database, "anne", channels=["json://a"])
    post(database, review={"remind_after": [60, 120]})
    assert [attend_due(database), attend_due(database)] == [1, 0]
    assert told(database) == [("anne", "waiting")]
    let_pass(database, 60)
    assert [attend_due(database), attend_due(database)] == [1, 0]
    let_pass(database, 60)
    assert attend_due(database) == 1
    assert told(database) == [("anne", "waiting"), ("anne", "reminder"), ("anne", "reminder")]
    assert attention(database) == {"more": False, "reminders": 2, "more_people": False}


def test_where_nobody_listens_nothing_is_due(database: Database) -> None:
    """The usual pause costs the sweep nothing; a reminder still comes, as people may listen by then."""
    post(database)
    assert attention(database)["more"] is False
    assert attend_due(database) == 0
    change(database, "DELETE FROM pauses")
    post(database, review={"remind_after": [60]})
    assert attention(database)["more"] is True
    assert attend_due(database) == 0


def test_escalated_by_two_sweeps_at_once(database: Database) -> None:
    """One message for each, one webhook; whoever was asked before is asked still."""
    an_endpoint(database, event_types=("pause.escalated",))
    voter(database, "anne", "ops", channels=["json://a"])
    lead = voter(database, "lead", "leads", channels=["json://l"])
    watch_id = post(database, review={"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}})
    attend_due(database)
    let_pass(database, 60)
    assert sorted(at_once([lambda: attend_due(database)] * 4), key=str) == [0, 0, 0, 1]
    assert told(database)[0] == ("anne", "waiting")
    assert sorted(told(database)[1:]) == [("anne", "escalated"), ("lead", "escalated")]
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.escalated"]
    assert decide_pause(database, lead, watch_id, approve(lead))["status"] == "approved"


def test_many_sweeps_and_decisions_at_once(database: Database) -> None:
    """A decided pause is not escalated any more, and no event is sent twice."""
    an_endpoint(database, event_types=("pause.escalated", "pause.approved"))
    anne = voter(database, "anne", "ops", channels=["json://a"])
    review = {"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}}
    held = [post(database, review=review) for _ in range(10)]
    let_pass(database, 60)
    decisions = [lambda each=each: decide_pause(database, anne, each, approve(anne)) for each in held]
    answers = at_once([*decisions, *[lambda: attend_due(database)] * 4])
    assert all(answer["status"] == "approved" for answer in answers[:10])  # type: ignore[index]
    for watch_id in held:
        of_it = [row["type"] for row in deliveries(database) if row["pause_id"] == uuid_of(watch_id)]
        assert of_it in (["pause.approved"], ["pause.escalated", "pause.approved"])
    assert attend_due(database) == 0


def test_another_stage_tells_its_people(database: Database) -> None:
    """And an edit tells those who have to look again."""
    anne = voter(database, "anne", "ops", channels=["json://a"])
    cara = voter(database, "cara", "finance", channels=["json://c"])
    watch_id = post(database, arguments={"n": 1}, review={"stages": [{"groups": ["ops"]}, {"groups": ["finance"]}]})
    attend_due(database)
    decide_pause(database, anne, watch_id, approve(anne))
    attend_due(database)
    assert told(database) == [("anne", "waiting"), ("cara", "waiting")]
    decide_pause(database, cara, watch_id, approve(cara, arguments={"n": 2}))
    attend_due(database)
    assert told(database)[2:] == [("anne", "waiting")]


def test_an_expired_pause_sends_no_notification(database: Database) -> None:
    """The sweep that comes first lets it expire, or escalates it."""
    voter(database, "anne", "ops", channels=["json://a"])
    ended = post(database)
    review = {"groups": ["ops"], "escalate": {"to": {"groups": ["leads"]}}}
    open_ = post(database, review=review, on_timeout=OnTimeout.ESCALATE)
    change(database, "UPDATE pauses SET created_at = now() - interval '1 h', expires_at = now()")
    assert attend_due(database) == 2
    assert get_pause(database, REVIEWER, ended).status == "expired"
    assert get_pause(database, REVIEWER, open_).escalated_at is not None
    assert set(told(database)) == {("anne", "escalated"), ("anne", "waiting")}


def test_a_sweep_takes_a_batch(database: Database) -> None:
    """However much there is, one transaction stays short."""
    voter(database, "anne")
    for _ in range(ATTEND_BATCH + 1):
        post(database, review={"remind_after": [60]})
    let_pass(database, 60)
    assert [attend_due(database), attend_due(database)] == [ATTEND_BATCH, 1]
