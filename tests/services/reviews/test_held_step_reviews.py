"""Held steps with a review policy: the step goes on when the review is complete, and not before."""

from uuid import UUID

import pytest

from domain.identity.access import Principal, Role
from domain.pauses.pause import OnTimeout
from domain.values import ids
from domain.values.errors import InvalidManifest, NotEligible, RevisionChanged
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due
from services.pauses.namespaces import Limits, put_namespace
from services.reviews.step_decisions import decide_step, rerun_step
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.model_world import go_on, model, reason
from tests.services.reviewers import key, voter
from tests.services.saga_world import current_ref, is_due, start, statuses, step, tools, watch_of, work
from tests.services.world import ADMIN, OPERATOR, REVIEWER, approve, change, reject, uuid_of


def test_a_quorum_through_the_steps_door(database: Database) -> None:
    """Each vote is accepted; only the last one wakes the saga, and what was approved is called."""
    anne, ben = voter(database, "anne"), voter(database, "ben")
    played = tools()
    trace_id = start(database, step("a", hitl=True, review={"approvals": 2}))
    work(database, trace_id, played)
    which = current_ref(database, trace_id)
    assert not decide_step(database, anne, which, approve(anne)).repeated
    assert decide_step(database, anne, which, approve(anne)).repeated
    assert not is_due(database, trace_id)
    work(database, trace_id, played)
    assert (played.calls, statuses(database, trace_id)[0]) == ([], "AWAITING_HUMAN")
    assert not decide_step(database, ben, which, approve(ben)).repeated
    assert is_due(database, trace_id)
    work(database, trace_id, played)
    assert played.names == ["do_a"]
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")


def test_one_rejection_undoes(database: Database) -> None:
    anne, ben = voter(database, "anne"), voter(database, "ben")
    trace_id = start(database, step("a", undo=True), step("b", hitl=True, review={"approvals": 2}))
    work(database, trace_id, tools())
    which = current_ref(database, trace_id)
    decide_step(database, anne, which, approve(anne))
    decide_step(database, ben, which, reject(ben))
    work(database, trace_id, tools())
    assert statuses(database, trace_id)[0] == "COMPENSATED"


def test_only_eligible_voters_decide_a_step(database: Database) -> None:
    anne = voter(database, "anne", "ops")
    trace_id = start(database, step("a", hitl=True, review={"groups": ["ops"]}))
    work(database, trace_id, tools())
    which = current_ref(database, trace_id)
    with pytest.raises(NotEligible):
        decide_step(database, REVIEWER, which, approve())
    decide_step(database, anne, which, approve(anne))
    assert is_due(database, trace_id)


def test_only_eligible_voters_rerun_a_step(database: Database) -> None:
    """It discards the votes, and its guidance reaches the model. An operator may rerun, as all voters may be absent."""
    anne, ben = voter(database, "anne", "ops"), voter(database, "ben", away=True)
    stands_in = voter(database, "carl")
    change(
        database, "UPDATE users SET groups = '{ops}', delegate_id = :to WHERE id = :id", **_delegation(ben, stands_in)
    )
    trace_id = start(database, step("a", hitl=True, review={"groups": ["ops"]}))
    for by in (anne, stands_in, OPERATOR):
        work(database, trace_id, tools())
        which = current_ref(database, trace_id)
        with pytest.raises(NotEligible):
            rerun_step(database, REVIEWER, which, "do as I say", None)
        assert statuses(database, trace_id)[0] == "AWAITING_HUMAN"
        assert not rerun_step(database, by, which, None, None).repeated


def _delegation(away: Principal, to: Principal) -> dict[str, UUID | None]:
    return {"id": ids.parse(ids.USER, away.id), "to": ids.parse(ids.USER, to.id)}


def test_the_namespaces_policy_holds_for_steps_that_say_none(database: Database) -> None:
    for name in ("anne", "ben"):
        voter(database, name)
    put_namespace(database, ADMIN, "default", {"approvals": 2})
    trace_id = start(database, step("a", hitl=True), step("b", hitl=True, review={"approvals": 1}))
    work(database, trace_id, tools())
    assert get_pause(database, REVIEWER, watch_of(database, trace_id)).review.document() == {"approvals": 2}


def test_a_policy_that_nobody_can_meet_is_not_deployed(database: Database) -> None:
    """By those who are there at that time; each step is named."""
    voter(database, "anne", "ops")
    good, bad = {"groups": ["ops"]}, {"groups": ["finance"]}
    with pytest.raises(InvalidManifest) as caught:
        start(database, step("a", hitl=True, review=good), step("b", hitl=True, review=bad))
    assert [field_error.path for field_error in caught.value.field_errors] == ["steps[1].review"]


def test_held_although_nobody_is_left_to_decide(database: Database) -> None:
    """The policy is not weakened, and the engine not stopped; the clock, or new people, go on with it."""
    anne = voter(database, "anne", "ops")
    trace_id = start(database, step("a", hitl=True, review={"groups": ["ops"]}))
    change(database, "UPDATE users SET groups = '{}' WHERE id = :id", id=ids.parse(ids.USER, anne.id))
    work(database, trace_id, tools())
    which = current_ref(database, trace_id)
    with pytest.raises(NotEligible):
        decide_step(database, anne, which, approve(anne))
    ben = voter(database, "ben", "ops")
    decide_step(database, ben, which, approve(ben))
    work(database, trace_id, tools())
    assert statuses(database, trace_id)[0] == "COMPLETED"


def test_a_step_whose_time_runs_out_is_escalated(database: Database) -> None:
    """To the keys or people that its manifest names; then it fails as expired."""
    robot = key(database, "robot", Role.OPERATOR)
    review = {"assignees": [robot.id], "escalate": {"to": {"groups": ["leads"]}}}
    held = step("a", hitl=True, review=review, hitl_timeout_seconds=60, hitl_on_timeout="escalate")
    trace_id = start(database, held)
    work(database, trace_id, tools())
    watch_id = watch_of(database, trace_id)
    moved = "created_at = created_at - interval '61 s', expires_at = expires_at - interval '61 s'"
    for escalated in (True, False):
        change(database, f"UPDATE pauses SET {moved} WHERE id = :id", id=uuid_of(watch_id))
        assert expire_due(database) == 1
        assert is_due(database, trace_id) is not escalated
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("FAILED", "FAILED")


def test_a_decision_on_what_was_held_before_a_rerun(database: Database) -> None:
    """A late decision names an old revision, so it does not fit the step as it is held now, edited before or not."""
    anne, ben = voter(database, "anne"), voter(database, "ben")
    trace_id = start(database, reason("a", hitl=True, review={"approvals": 2}))
    go_on(database, trace_id, model(a=1))
    which, watch_id = current_ref(database, trace_id), watch_of(database, trace_id)
    decide_pause(database, anne, watch_id, approve(anne, arguments={"n": 2}))
    read = get_pause(database, REVIEWER, watch_id).revision
    rerun_step(database, ben, which, None, None)
    go_on(database, trace_id, model(a=99))
    for command in (approve(anne, revision=read), approve(anne, revision=1), reject(anne, revision=read)):
        with pytest.raises(RevisionChanged):
            decide_step(database, anne, which, command)
    assert get_pause(database, REVIEWER, watch_of(database, trace_id)).revision == read + 1
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")


def test_a_floor_that_was_raised_after_the_deployment(database: Database) -> None:
    """A held step obeys the namespace's present policy, and the manifest's further requirements."""
    voter(database, "anne", "ops"), voter(database, "ben", "ops")
    put_namespace(database, ADMIN, "default", {"allow_self": True}, {"allowed_on_timeout": list(OnTimeout)})
    weak = {"hitl_on_timeout": "approve", "hitl_timeout_seconds": 5, "review": {"groups": ["ops"], "allow_self": True}}
    trace_id = start(database, step("a", hitl=True, **weak))
    raised: Limits = {"allowed_on_timeout": None, "min_expires_in": 60}
    put_namespace(database, ADMIN, "default", {"approvals": 2}, raised)
    work(database, trace_id, tools())
    pause = get_pause(database, REVIEWER, watch_of(database, trace_id))
    assert pause.review.document() == {"approvals": 2, "groups": ["ops"]}
    assert pause.on_timeout is OnTimeout.EXPIRE
    assert pause.expires_at is not None
    assert (pause.expires_at - pause.created_at).total_seconds() == 60


def test_a_manifest_that_falls_below_the_floor(database: Database) -> None:
    """Each place is named when it is deployed."""
    put_namespace(database, ADMIN, "default", {"approvals": 1}, {"min_expires_in": 60})
    weak = {"hitl_on_timeout": "approve", "hitl_timeout_seconds": 5, "review": {"allow_self": True}}
    with pytest.raises(InvalidManifest) as refused:
        start(database, step("a", hitl=True, **weak))
    places = [field_error.path.removeprefix("steps[0].") for field_error in refused.value.field_errors]
    assert places == ["review.allow_self", "hitl_on_timeout", "hitl_timeout_seconds"]
