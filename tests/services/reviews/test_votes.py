"""Reviews with policies: who may vote is looked up at the vote, and one decision comes out, whoever is quickest."""

from collections import Counter
from typing import Any

import pytest

from domain.identity.access import Principal, Role
from domain.log import audit
from domain.pauses.pause import OnTimeout
from domain.pauses.serialization import pause_document
from domain.values import ids
from domain.values.errors import AlreadyResolved, Invalid, NotAsked, PolicyUnsatisfiable
from services.identity.keys import revoke_key
from services.kernel.idempotency import Once
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import expire_due, get_pause
from services.pauses.namespaces import put_namespace
from services.pauses.voters import members_of
from services.reviews.decisions import decide_pause
from tests.conftest import Recorded
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
    one,
    post,
    reject,
    rows,
    uuid_of,
)


def entries(store: Store, watch_id: str) -> list[dict[str, Any]]:
    query = "SELECT entry FROM audit_events WHERE entry ->> 'subject' = :subject ORDER BY seq"
    return [row["entry"] for row in rows(store, query, subject=watch_id)]


def test_twenty_at_once_on_a_quorum_of_three(store: Store, signals: Recorded) -> None:
    """Three votes count, one outcome is told, and who came too late is told it too."""
    an_endpoint(store)
    people = [voter(store, f"p{number}") for number in range(20)]
    watch_id = post(store, review={"approvals": 3}, callback_url=CALLBACK)
    answers = at_once([lambda by=by: decide_pause(store, by, watch_id, approve(by)) for by in people])
    pause = get_pause(store, REVIEWER, watch_id)
    assert pause.status == "approved"
    assert len({vote.by.id for vote in pause.votes}) == len(pause.votes) == 3
    assert Counter(answer["status"] for answer in answers if isinstance(answer, dict)) == {"approved": 18, "pending": 2}
    # One to the endpoint and one to the callback.
    assert Counter(delivery["type"] for delivery in deliveries(store)) == {"pause.created": 1, "pause.approved": 2}
    assert [entry["type"] for entry in entries(store, watch_id)] == [
        "pause.created",
        "pause.voted",
        "pause.voted",
        "pause.approved",
    ]


def test_votes_against_each_other_a_cancel_and_the_clock(store: Store) -> None:
    """One outcome, whichever it is; nobody is told another."""
    people = [voter(store, f"p{number}") for number in range(12)]
    watch_id = post(store, review={"approvals": 3, "reject_on": "majority"}, callback_url=CALLBACK)
    votes = [
        lambda by=by, n=n: decide_pause(store, by, watch_id, approve(by) if n % 2 else reject(by))
        for n, by in enumerate(people)
    ]
    answers = at_once([*votes, lambda: decide_pause(store, AGENT, watch_id, cancel()), lambda: expire_due(store)])
    final = str(get_pause(store, REVIEWER, watch_id).status)
    told = {
        answer.current["status"] if isinstance(answer, AlreadyResolved) else answer["status"] for answer in answers[:13]
    }
    assert told <= {"pending", final}
    assert [delivery["type"] for delivery in deliveries(store)] == [f"pause.{final}"]


def test_a_vote_wakes_who_looks_and_ends_no_wait(store: Store, signals: Recorded) -> None:
    """The page shows it; the agent waits for the outcome."""
    anne, ben = voter(store, "anne"), voter(store, "ben")
    watch_id = post(store, review={"approvals": 2})
    pending = decide_pause(store, anne, watch_id, approve(anne, comment="fine"))
    assert signals.wakes == [uuid_of(watch_id)]
    assert pending["status"] == "pending"
    assert pending["waitingFor"]["approved"] == 1
    assert [(vote["by"], vote["comment"]) for vote in pending["votes"]] == [(anne.id, "fine")]
    assert decide_pause(store, anne, watch_id, approve(anne)) == pending
    approved = decide_pause(store, ben, watch_id, approve(ben))
    assert [vote["by"] for vote in approved["decision"]["votes"]] == [anne.id, ben.id]
    assert decide_pause(store, anne, watch_id, approve(anne)) == approved
    with pytest.raises(AlreadyResolved):
        decide_pause(store, ben, watch_id, reject(ben))


def test_an_edit_is_audited_with_what_it_was_about(store: Store) -> None:
    """Which revision, which digest, whose words."""
    anne, ben = voter(store, "anne"), voter(store, "ben")
    watch_id = post(store, review={"approvals": 2}, arguments={"n": 1})
    decide_pause(store, anne, watch_id, approve(anne))
    edited = decide_pause(store, ben, watch_id, approve(ben, arguments={"n": 2}, comment="two"))
    assert [vote["counts"] for vote in edited["votes"]] == [False, True]
    _, voted, edit = entries(store, watch_id)
    assert (voted["type"], voted["by"], voted["details"]["revision"]) == ("pause.voted", anne.id, 1)
    assert edit["type"] == "pause.edited"
    assert edit["details"].pop("row").keys() == {"votes", "posted_arguments"}
    assert edit["details"] == {
        "revision": 2,
        "arguments_digest": edited["argumentsDigest"],
        "outcome": "approved",
        "comment": "two",
    }


def test_who_is_a_member(store: Store) -> None:
    """Active people and usable keys of the namespace that may decide."""
    anne = voter(store, "anne", "ops")
    wide = voter(store, "wide", namespaces=["*"])
    voter(store, "elsewhere", namespaces=["other"])
    gone = voter(store, "gone")
    change(store, "UPDATE users SET disabled_at = now() WHERE id = :id", id=ids.parse(ids.USER, gone.id))
    away = voter(store, "away", away=True, delegate_id=ids.parse(ids.USER, anne.id))
    back = voter(store, "back", delegate_id=ids.parse(ids.USER, anne.id))
    reviewer, operator = key(store, "r"), key(store, "o", Role.OPERATOR)
    key(store, "a", Role.AGENT)
    revoke_key(store, ADMIN, key(store, "revoked").id)
    expired = key(store, "expired")
    change(store, "UPDATE api_keys SET expires_at = now() WHERE id = :id", id=ids.parse(ids.KEY, expired.id))
    with store.transaction() as tx:
        found = {member.id: member for member in members_of(tx, "default")}
    assert found.keys() == {one.id for one in (anne, wide, away, back, reviewer, operator)}
    assert (found[anne.id].email, found[anne.id].groups) == ("anne@example.com", ("ops",))
    assert (found[away.id].delegate, found[back.id].delegate) == (anne.id, None)


def test_a_policy_that_nobody_can_meet_is_refused(store: Store) -> None:
    """By who is there now; and the pause is not there afterwards."""
    anne = voter(store, "anne", "ops")
    for review in ({"approvals": 2}, {"groups": ["finance"]}, {"stages": [{"groups": ["ops"]}, {}]}):
        with pytest.raises(PolicyUnsatisfiable):
            post(store, review=review)
    assert one(store, "SELECT count(*) FROM pauses") == 0
    post(store, review={"groups": ["ops"]})
    with pytest.raises(PolicyUnsatisfiable):
        post(store, by=Principal(anne.id, "", Role.ADMIN, ("default",)), review={"groups": ["ops"]})
    key(store, "second")
    post(store, review={"approvals": 2})


def test_an_unsatisfiable_one_is_not_remembered_under_its_idempotency_key(store: Store) -> None:
    """Tried again when there are more people, it is made."""
    once = Once("key-of-mine", bytes(32))
    voter(store, "anne")
    with pytest.raises(PolicyUnsatisfiable):
        post(store, once=once, review={"approvals": 2})
    voter(store, "ben")
    assert post(store, once=once, review={"approvals": 2}) == post(store, once=once, review={"approvals": 2})


def test_who_was_disabled_in_the_meantime_has_no_vote(store: Store) -> None:
    """The session may still be open somewhere."""
    anne, ben = voter(store, "anne", "ops"), voter(store, "ben", "ops")
    watch_id = post(store, review={"groups": ["ops"]})
    change(store, "UPDATE users SET disabled_at = now() WHERE id = :id", id=ids.parse(ids.USER, anne.id))
    with pytest.raises(NotAsked):
        decide_pause(store, anne, watch_id, approve(anne))
    assert decide_pause(store, ben, watch_id, approve(ben))["status"] == "approved"


def test_a_vote_for_somebody_who_is_away(store: Store) -> None:
    """Kept with both names, in the audit log too."""
    dan = voter(store, "dan")
    anne = voter(store, "anne", "ops", away=True, delegate_id=ids.parse(ids.USER, dan.id))
    ben = voter(store, "ben", "ops")
    watch_id = post(store, review={"approvals": 2, "groups": ["ops"]})
    voted = decide_pause(store, dan, watch_id, approve(dan))
    assert voted["votes"][0]["onBehalfOf"] == {"id": anne.id, "name": "Anne"}
    assert entries(store, watch_id)[-1]["details"]["on_behalf_of"] == anne.id
    assert decide_pause(store, dan, watch_id, approve(dan)) == voted
    assert decide_pause(store, ben, watch_id, approve(ben))["status"] == "approved"


def test_stages_are_kept_between_votes(store: Store) -> None:
    """And whom the review asks now, for the inbox and the messages."""
    anne, cara = voter(store, "anne", "ops"), voter(store, "cara", "finance")
    watch_id = post(store, review={"stages": [{"groups": ["ops"]}, {"name": "money", "groups": ["finance"]}]})
    decide_pause(store, anne, watch_id, approve(anne))
    (row,) = rows(store, "SELECT stage, asked, attend_at IS NOT NULL AS attend FROM pauses")
    assert row == {"stage": 1, "asked": ["group:finance"], "attend": True}
    waiting = get_pause(store, REVIEWER, watch_id)
    assert waiting.stage == 1
    done = decide_pause(store, cara, watch_id, approve(cara))
    assert (done["status"], [vote["stage"] for vote in done["votes"]]) == ("approved", [0, 1])


def run_out(store: Store, watch_id: str) -> None:
    """The whole pause is moved back, so that it was open for as long as it was made for."""
    by = "expires_at - now() + interval '1 s'"
    moved = f"UPDATE pauses SET created_at = created_at - ({by}), expires_at = expires_at - ({by}) WHERE id = :id"
    assert change(store, moved, id=uuid_of(watch_id)) == 1


ESCALATING = {"groups": ["ops"], "escalate": {"to": {"groups": ["leads"]}}}


def test_time_runs_out_into_an_escalation(store: Store) -> None:
    """Told to whoever subscribes; open to more people; and when that is over, it expires."""
    an_endpoint(store, event_types=("pause.escalated", "pause.expired"))
    voter(store, "anne", "ops")
    lead = voter(store, "lead", "leads")
    watch_id = post(store, review=ESCALATING, on_timeout=OnTimeout.ESCALATE, callback_url=CALLBACK)
    with pytest.raises(NotAsked):
        decide_pause(store, lead, watch_id, approve(lead))
    run_out(store, watch_id)
    assert [expire_due(store), expire_due(store)] == [1, 0]
    pause = get_pause(store, REVIEWER, watch_id)
    assert (pause.status, pause.on_timeout, pause.asked) == ("pending", "expire", ["group:ops", "group:leads"])
    run_out(store, watch_id)
    assert expire_due(store) == 1
    with pytest.raises(AlreadyResolved):
        decide_pause(store, lead, watch_id, approve(lead))
    # The agent hears of the outcome alone.
    assert [(delivery["type"], delivery["endpoint_id"] is None) for delivery in deliveries(store)] == [
        ("pause.escalated", False),
        ("pause.expired", False),
        ("pause.expired", True),
    ]
    assert [entry["type"] for entry in entries(store, watch_id)] == [
        "pause.created",
        "pause.escalated",
        "pause.expired",
    ]


@pytest.mark.parametrize("revision", [None, 1])
def test_an_edit_of_who_is_asked_later_is_repeated(store: Store, revision: int | None) -> None:
    """As its answer was lost: nothing changes. Once they are asked, the same is their vote."""
    anne, lead = voter(store, "anne", "ops"), voter(store, "lead", "leads")
    watch_id = post(store, arguments={"n": 1}, review={"stages": [{"groups": ["ops"]}, {"groups": ["leads"]}]})
    decide_pause(store, anne, watch_id, approve(anne))
    edit = approve(lead, arguments={"n": 2}, revision=revision)
    edited = decide_pause(store, lead, watch_id, edit)
    assert edited["revision"] == 2
    assert decide_pause(store, lead, watch_id, edit) == edited
    with pytest.raises(NotAsked):
        decide_pause(store, lead, watch_id, approve(lead, revision=2))
    decide_pause(store, anne, watch_id, approve(anne, revision=2))
    assert decide_pause(store, lead, watch_id, approve(lead, arguments={"n": 2}, revision=2))["status"] == "approved"


def test_decided_before_the_sweep_that_escalates(store: Store) -> None:
    """Also where one vote is enough, what is stored is what was answered, told and recorded: it was in time."""
    an_endpoint(store, event_types=("pause.escalated", "pause.approved"))
    review = {"escalate": {"to": {"groups": ["leads"]}}}
    watch_id = post(store, review=review, on_timeout=OnTimeout.ESCALATE)
    run_out(store, watch_id)
    answered = decide_pause(store, REVIEWER, watch_id, approve())
    assert answered["resolvedAt"] < answered["expiresAt"]
    assert pause_document(get_pause(store, REVIEWER, watch_id), store.public_url) == answered
    assert [delivery["type"] for delivery in deliveries(store)] == ["pause.escalated", "pause.approved"]
    assert entries(store, watch_id)[-1]["after"] == audit.digest(answered)


def test_votes_race_the_sweep_that_escalates(store: Store) -> None:
    """One escalation, one approval; whichever came first, both are in the record once."""
    an_endpoint(store, event_types=("pause.escalated", "pause.approved"))
    people = [voter(store, f"o{n}", "ops") for n in range(5)] + [voter(store, f"l{n}", "leads") for n in range(5)]
    watch_id = post(store, review=ESCALATING | {"approvals": 4}, on_timeout=OnTimeout.ESCALATE)
    run_out(store, watch_id)
    votes = [lambda by=by: decide_pause(store, by, watch_id, approve(by)) for by in people]
    at_once([*votes, *[lambda: expire_due(store)] * 4])
    pause = get_pause(store, REVIEWER, watch_id)
    assert pause.status == "approved"
    assert sum(vote.counts for vote in pause.votes) == 4
    assert [delivery["type"] for delivery in deliveries(store)] == ["pause.escalated", "pause.approved"]


def test_the_creator_may_where_the_policy_says_so(store: Store) -> None:
    """The table lets it through for such a policy alone."""
    admin = key(store, "admin", Role.ADMIN)
    with pytest.raises(Invalid, match="in it has no usable meaning"):
        post(store, by=admin, review={"allow_self": True})
    put_namespace(store, ADMIN, "default", {"allow_self": True})
    watch_id = post(store, by=admin, review={"allow_self": True})
    assert decide_pause(store, admin, watch_id, approve(admin))["decision"]["decidedBy"] == admin.id
