"""Reviews with policies: who may vote is looked up at the vote, and one decision comes out, whoever is quickest."""

from collections import Counter
from typing import Any

import pytest

from domain.identity.access import Principal, Role
from domain.log import audit
from domain.pauses.pause import OnTimeout
from domain.pauses.serialization import pause_document
from domain.values import ids
from domain.values.errors import AlreadyResolved, Invalid, NotEligible, PolicyUnsatisfiable
from services.identity.keys import revoke_key
from services.kernel.idempotency import IdempotentRequest
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due
from services.pauses.namespaces import put_namespace
from services.pauses.voters import members_of
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.reviewers import key, voter
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    cancel,
    change,
    deliveries,
    linked,
    one,
    post,
    reject,
    rows,
    uuid_of,
)


def entries(database: Database, watch_id: str) -> list[dict[str, Any]]:
    query = "SELECT entry FROM audit_events WHERE entry ->> 'subject' = :subject ORDER BY seq"
    return [row["entry"] for row in rows(linked(database), query, subject=watch_id)]


def test_twenty_at_once_on_a_quorum_of_three(database: Database, publisher: Recorded) -> None:
    """Three votes count, one outcome is announced, and a late voter gets it too."""
    an_endpoint(database)
    people = [voter(database, f"p{number}") for number in range(20)]
    watch_id = post(database, review={"approvals": 3}, callback_url=CALLBACK)
    answers = at_once([lambda by=by: decide_pause(database, by, watch_id, approve(by)) for by in people])
    pause = get_pause(database, REVIEWER, watch_id)
    assert pause.status == "approved"
    assert len({vote.by.id for vote in pause.votes}) == len(pause.votes) == 3
    assert Counter(answer["status"] for answer in answers if isinstance(answer, dict)) == {"approved": 18, "pending": 2}
    # One to the endpoint and one to the callback.
    assert Counter(delivery["type"] for delivery in deliveries(database)) == {"pause.created": 1, "pause.approved": 2}
    assert [entry["type"] for entry in entries(database, watch_id)] == [
        "pause.created",
        "pause.voted",
        "pause.voted",
        "pause.approved",
    ]


def test_votes_against_each_other_a_cancel_and_the_clock(database: Database) -> None:
    """There is one outcome, whichever it is, and no one gets another."""
    people = [voter(database, f"p{number}") for number in range(12)]
    watch_id = post(database, review={"approvals": 3, "reject_on": "majority"}, callback_url=CALLBACK)
    votes = [
        lambda by=by, n=n: decide_pause(database, by, watch_id, approve(by) if n % 2 else reject(by))
        for n, by in enumerate(people)
    ]
    answers = at_once([*votes, lambda: decide_pause(database, AGENT, watch_id, cancel()), lambda: expire_due(database)])
    final = str(get_pause(database, REVIEWER, watch_id).status)
    told = {
        answer.current["status"] if isinstance(answer, AlreadyResolved) else answer["status"] for answer in answers[:13]
    }
    assert told <= {"pending", final}
    assert [delivery["type"] for delivery in deliveries(database)] == [f"pause.{final}"]


def test_a_vote_wakes_streams_and_ends_no_long_poll(database: Database, publisher: Recorded) -> None:
    """The page shows it; the agent waits for the outcome."""
    anne, ben = voter(database, "anne"), voter(database, "ben")
    watch_id = post(database, review={"approvals": 2})
    pending = decide_pause(database, anne, watch_id, approve(anne, comment="fine"))
    assert publisher.wakes == [uuid_of(watch_id)]
    assert pending["status"] == "pending"
    assert pending["waitingFor"]["approved"] == 1
    assert [(vote["by"], vote["comment"]) for vote in pending["votes"]] == [(anne.id, "fine")]
    assert decide_pause(database, anne, watch_id, approve(anne)) == pending
    approved = decide_pause(database, ben, watch_id, approve(ben))
    assert [vote["by"] for vote in approved["decision"]["votes"]] == [anne.id, ben.id]
    assert decide_pause(database, anne, watch_id, approve(anne)) == approved
    with pytest.raises(AlreadyResolved):
        decide_pause(database, ben, watch_id, reject(ben))


def test_an_edit_is_audited_with_what_it_was_about(database: Database) -> None:
    """Which revision, which digest, whose words."""
    anne, ben = voter(database, "anne"), voter(database, "ben")
    watch_id = post(database, review={"approvals": 2}, arguments={"n": 1})
    decide_pause(database, anne, watch_id, approve(anne))
    edited = decide_pause(database, ben, watch_id, approve(ben, arguments={"n": 2}, comment="two"))
    assert [vote["counts"] for vote in edited["votes"]] == [False, True]
    _, voted, edit = entries(database, watch_id)
    assert (voted["type"], voted["by"], voted["details"]["revision"]) == ("pause.voted", anne.id, 1)
    assert edit["type"] == "pause.edited"
    assert edit["details"].pop("row").keys() == {"votes", "posted_arguments"}
    assert edit["details"] == {
        "revision": 2,
        "arguments_digest": edited["argumentsDigest"],
        "outcome": "approved",
        "comment": "two",
    }


def test_who_is_a_member(database: Database) -> None:
    """Active people and usable keys of the namespace that may decide."""
    anne = voter(database, "anne", "ops")
    wide = voter(database, "wide", namespaces=["*"])
    voter(database, "elsewhere", namespaces=["other"])
    gone = voter(database, "gone")
    change(database, "UPDATE users SET disabled_at = now() WHERE id = :id", id=ids.parse(ids.USER, gone.id))
    away = voter(database, "away", away=True, delegate_id=ids.parse(ids.USER, anne.id))
    back = voter(database, "back", delegate_id=ids.parse(ids.USER, anne.id))
    reviewer, operator = key(database, "r"), key(database, "o", Role.OPERATOR)
    key(database, "a", Role.AGENT)
    revoke_key(database, ADMIN, key(database, "revoked").id)
    expired = key(database, "expired")
    change(database, "UPDATE api_keys SET expires_at = now() WHERE id = :id", id=ids.parse(ids.KEY, expired.id))
    with database.transaction() as uow:
        found = {member.id: member for member in members_of(uow, "default")}
    assert found.keys() == {one.id for one in (anne, wide, away, back, reviewer, operator)}
    assert (found[anne.id].email, found[anne.id].groups) == ("anne@example.com", ("ops",))
    assert (found[away.id].delegate, found[back.id].delegate) == (anne.id, None)


def test_a_policy_that_nobody_can_meet_is_refused(database: Database) -> None:
    """By who is there now; and the pause is not there afterwards."""
    anne = voter(database, "anne", "ops")
    for review in ({"approvals": 2}, {"groups": ["finance"]}, {"stages": [{"groups": ["ops"]}, {}]}):
        with pytest.raises(PolicyUnsatisfiable):
            post(database, review=review)
    assert one(database, "SELECT count(*) FROM pauses") == 0
    post(database, review={"groups": ["ops"]})
    with pytest.raises(PolicyUnsatisfiable):
        post(database, by=Principal(anne.id, "", Role.ADMIN, ("default",)), review={"groups": ["ops"]})
    key(database, "second")
    post(database, review={"approvals": 2})


def test_an_unsatisfiable_one_is_not_remembered_under_its_idempotency_key(database: Database) -> None:
    """Tried again when there are more people, it is made."""
    idempotency = IdempotentRequest("key-of-mine", bytes(32))
    voter(database, "anne")
    with pytest.raises(PolicyUnsatisfiable):
        post(database, idempotency=idempotency, review={"approvals": 2})
    voter(database, "ben")
    assert post(database, idempotency=idempotency, review={"approvals": 2}) == post(
        database, idempotency=idempotency, review={"approvals": 2}
    )


def test_who_was_disabled_in_the_meantime_has_no_vote(database: Database) -> None:
    """The session may still be open somewhere."""
    anne, ben = voter(database, "anne", "ops"), voter(database, "ben", "ops")
    watch_id = post(database, review={"groups": ["ops"]})
    change(database, "UPDATE users SET disabled_at = now() WHERE id = :id", id=ids.parse(ids.USER, anne.id))
    with pytest.raises(NotEligible):
        decide_pause(database, anne, watch_id, approve(anne))
    assert decide_pause(database, ben, watch_id, approve(ben))["status"] == "approved"


def test_a_vote_for_somebody_who_is_away(database: Database) -> None:
    """Kept with both names, in the audit log too."""
    dan = voter(database, "dan")
    anne = voter(database, "anne", "ops", away=True, delegate_id=ids.parse(ids.USER, dan.id))
    ben = voter(database, "ben", "ops")
    watch_id = post(database, review={"approvals": 2, "groups": ["ops"]})
    voted = decide_pause(database, dan, watch_id, approve(dan))
    assert voted["votes"][0]["onBehalfOf"] == {"id": anne.id, "name": "Anne"}
    assert entries(database, watch_id)[-1]["details"]["on_behalf_of"] == anne.id
    assert decide_pause(database, dan, watch_id, approve(dan)) == voted
    assert decide_pause(database, ben, watch_id, approve(ben))["status"] == "approved"


def test_stages_are_kept_between_votes(database: Database) -> None:
    """And whom the review asks now, for the inbox and the messages."""
    anne, cara = voter(database, "anne", "ops"), voter(database, "cara", "finance")
    watch_id = post(database, review={"stages": [{"groups": ["ops"]}, {"name": "money", "groups": ["finance"]}]})
    decide_pause(database, anne, watch_id, approve(anne))
    (row,) = rows(database, "SELECT stage, asked, attend_at IS NOT NULL AS attend FROM pauses")
    assert row == {"stage": 1, "asked": ["group:finance"], "attend": True}
    waiting = get_pause(database, REVIEWER, watch_id)
    assert waiting.stage == 1
    done = decide_pause(database, cara, watch_id, approve(cara))
    assert (done["status"], [vote["stage"] for vote in done["votes"]]) == ("approved", [0, 1])


def run_out(database: Database, watch_id: str) -> None:
    """The whole pause is moved back, so that it was open for as long as it was made for."""
    by = "expires_at - now() + interval '1 s'"
    moved = f"UPDATE pauses SET created_at = created_at - ({by}), expires_at = expires_at - ({by}) WHERE id = :id"
    assert change(database, moved, id=uuid_of(watch_id)) == 1


ESCALATING = {"groups": ["ops"], "escalate": {"to": {"groups": ["leads"]}}}


def test_time_runs_out_into_an_escalation(database: Database) -> None:
    """Told to whoever subscribes; open to more people; and when that is over, it expires."""
    an_endpoint(database, event_types=("pause.escalated", "pause.expired"))
    voter(database, "anne", "ops")
    lead = voter(database, "lead", "leads")
    watch_id = post(database, review=ESCALATING, on_timeout=OnTimeout.ESCALATE, callback_url=CALLBACK)
    with pytest.raises(NotEligible):
        decide_pause(database, lead, watch_id, approve(lead))
    run_out(database, watch_id)
    assert [expire_due(database), expire_due(database)] == [1, 0]
    pause = get_pause(database, REVIEWER, watch_id)
    assert (pause.status, pause.on_timeout, pause.eligible) == ("pending", "expire", ["group:ops", "group:leads"])
    run_out(database, watch_id)
    assert expire_due(database) == 1
    with pytest.raises(AlreadyResolved):
        decide_pause(database, lead, watch_id, approve(lead))
    # The agent hears of the outcome alone.
    assert [(delivery["type"], delivery["endpoint_id"] is None) for delivery in deliveries(database)] == [
        ("pause.escalated", False),
        ("pause.expired", False),
        ("pause.expired", True),
    ]
    assert [entry["type"] for entry in entries(database, watch_id)] == [
        "pause.created",
        "pause.escalated",
        "pause.expired",
    ]


@pytest.mark.parametrize("revision", [None, 1])
def test_a_repeated_edit_by_a_voter_of_a_later_stage(database: Database, revision: int | None) -> None:
    """As its answer was lost: nothing changes. Once they are asked, the same is their vote."""
    anne, lead = voter(database, "anne", "ops"), voter(database, "lead", "leads")
    watch_id = post(database, arguments={"n": 1}, review={"stages": [{"groups": ["ops"]}, {"groups": ["leads"]}]})
    decide_pause(database, anne, watch_id, approve(anne))
    edit = approve(lead, arguments={"n": 2}, revision=revision)
    edited = decide_pause(database, lead, watch_id, edit)
    assert edited["revision"] == 2
    assert decide_pause(database, lead, watch_id, edit) == edited
    with pytest.raises(NotEligible):
        decide_pause(database, lead, watch_id, approve(lead, revision=2))
    decide_pause(database, anne, watch_id, approve(anne, revision=2))
    assert decide_pause(database, lead, watch_id, approve(lead, arguments={"n": 2}, revision=2))["status"] == "approved"


def test_decided_before_the_sweep_that_escalates(database: Database) -> None:
    """Even if one vote is enough, the stored outcome is the one in the response, the webhook and the log."""
    an_endpoint(database, event_types=("pause.escalated", "pause.approved"))
    review = {"escalate": {"to": {"groups": ["leads"]}}}
    watch_id = post(database, review=review, on_timeout=OnTimeout.ESCALATE)
    run_out(database, watch_id)
    answered = decide_pause(database, REVIEWER, watch_id, approve())
    assert answered["resolvedAt"] < answered["expiresAt"]
    assert pause_document(get_pause(database, REVIEWER, watch_id), database.public_url) == answered
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.escalated", "pause.approved"]
    assert entries(database, watch_id)[-1]["after"] == audit.digest(answered)


def test_votes_race_the_sweep_that_escalates(database: Database) -> None:
    """One escalation, one approval; whichever came first, both are in the record once."""
    an_endpoint(database, event_types=("pause.escalated", "pause.approved"))
    people = [voter(database, f"o{n}", "ops") for n in range(5)] + [voter(database, f"l{n}", "leads") for n in range(5)]
    watch_id = post(database, review=ESCALATING | {"approvals": 4}, on_timeout=OnTimeout.ESCALATE)
    run_out(database, watch_id)
    votes = [lambda by=by: decide_pause(database, by, watch_id, approve(by)) for by in people]
    at_once([*votes, *[lambda: expire_due(database)] * 4])
    pause = get_pause(database, REVIEWER, watch_id)
    assert pause.status == "approved"
    assert sum(vote.counts for vote in pause.votes) == 4
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.escalated", "pause.approved"]


def test_the_creator_may_where_the_policy_says_so(database: Database) -> None:
    """The table lets it through for such a policy alone."""
    admin = key(database, "admin", Role.ADMIN)
    with pytest.raises(Invalid, match="invalid fields"):
        post(database, by=admin, review={"allow_self": True})
    put_namespace(database, ADMIN, "default", {"allow_self": True})
    watch_id = post(database, by=admin, review={"allow_self": True})
    assert decide_pause(database, admin, watch_id, approve(admin))["decision"]["decidedBy"] == admin.id
