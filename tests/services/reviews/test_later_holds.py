"""A decision that names no revision is on the first hold: it never lands on one that its sender has not seen."""

from uuid import UUID

import pytest

from domain.values.errors import AlreadyResolved, DomainError, RevisionChanged, RevisionRequired, WrongState
from services.kernel.unit_of_work import Database
from services.reviews.decisions import decide_many
from services.reviews.step_decisions import decide_step, rerun_step
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import StepRef
from tests.services.by_watch_id import decide_pause, decision_on, get_pause
from tests.services.reviewers import voter
from tests.services.saga_world import current_ref, saga_of, start, step, tools, watch_of, work
from tests.services.world import OPERATOR, REVIEWER, approve, at_once, post, reject, rows

ROUNDS = 12


@pytest.fixture
def rerun(database: Database) -> UUID:
    """A step that is held for the second time."""
    trace_id = start(database, step("a", hitl=True))
    work(database, trace_id, tools())
    rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    work(database, trace_id, tools())
    return trace_id


@pytest.mark.parametrize("door", ["step", "pause", "bulk"])
@pytest.mark.parametrize("decision", [approve, reject])
def test_after_a_rerun_a_decision_says_what_it_has_read(
    database: Database, rerun: UUID, door: str, decision: type
) -> None:
    """This holds for every endpoint. The error shows the present state, and nothing has changed."""
    watch_id, which = watch_of(database, rerun), current_ref(database, rerun)
    before = get_pause(database, REVIEWER, watch_id)

    def decide(**more: object) -> object:
        command = decision(**more)
        if door == "step":
            return decide_step(database, REVIEWER, which, command)
        if door == "pause":
            return decide_pause(database, REVIEWER, watch_id, command)
        (outcome,) = decide_many(database, REVIEWER, [decision_on(watch_id, command)])
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    with pytest.raises(RevisionRequired) as refused:
        decide()
    assert refused.value.current is not None
    assert before.arguments_digest is not None
    assert {name: refused.value.current[name] for name in ("watchId", "status", "revision", "argumentsDigest")} == {
        "watchId": watch_id,
        "status": "pending",
        "revision": 2,
        "argumentsDigest": before.arguments_digest.hex(),
    }
    assert get_pause(database, REVIEWER, watch_id) == before
    decide(revision=2)
    assert get_pause(database, REVIEWER, watch_id).status != "pending"


def test_after_an_edit_a_vote_says_what_it_has_read(database: Database) -> None:
    """Others' arguments are not what it was meant for."""
    anne, ben = voter(database, "anne"), voter(database, "ben")
    watch_id = post(database, arguments={"n": 1}, review={"approvals": 2})
    decide_pause(database, anne, watch_id, approve(anne, arguments={"n": 1000}))
    with pytest.raises(RevisionRequired):
        decide_pause(database, ben, watch_id, approve(ben))
    assert get_pause(database, REVIEWER, watch_id).status == "pending"
    # One's own vote, said again, is no other.
    assert decide_pause(database, anne, watch_id, approve(anne))["revision"] == 2
    assert decide_pause(database, ben, watch_id, approve(ben, revision=2))["status"] == "approved"


def test_a_rerun_may_say_what_it_is_about(database: Database, rerun: UUID) -> None:
    """It approves nothing, so it need not."""
    which, watch_id = current_ref(database, rerun), watch_of(database, rerun)
    with pytest.raises(RevisionChanged) as refused:
        rerun_step(database, REVIEWER, which, None, None, 1)
    assert refused.value.current is not None
    assert refused.value.current["revision"] == 2
    assert watch_of(database, rerun) == watch_id
    assert not rerun_step(database, REVIEWER, which, None, None, 2).repeated


def test_approvals_reruns_and_a_cancel_at_once(database: Database) -> None:
    """Whichever comes first, an approval sent for the first pause never approves the second."""
    for number in range(ROUNDS):
        trace_id = start(database, step("a", hitl=True))
        used = tools()
        work(database, trace_id, used)
        which = current_ref(database, trace_id)
        calls = [
            lambda which=which: _insisting(database, which),
            lambda which=which: rerun_step(database, REVIEWER, which, "again", None),
            lambda trace_id=trace_id, used=used: [work(database, trace_id, used) for _ in range(5)],
        ]
        if number % 3 == 0:
            calls.append(lambda trace_id=trace_id: cancel_saga(database, OPERATOR, trace_id, "stop"))
        at_once(calls)
        work(database, trace_id, used)
        holds = rows(
            database, "SELECT status, revision FROM pauses WHERE context ->> 'trace_id' = :id", id=trace_id.hex
        )
        later = [each for each in holds if each["revision"] > 1]
        assert [each for each in later if each["status"] == "approved"] == []
        # Also what was approved is not called once the saga is cancelled.
        assert used.names in ([], ["do_a"] if "approved" in {each["status"] for each in holds} else [])


def _insisting(database: Database, which: StepRef) -> object:
    """A program that sends its approval until the step takes it, as one does that met a step on its way."""
    for _ in range(200):
        try:
            return decide_step(database, REVIEWER, which, approve())
        except WrongState:
            if saga_of(database, which.trace_id).ended_at is not None:
                return None
        except (AlreadyResolved, RevisionRequired) as refused:
            if isinstance(refused, RevisionRequired):
                return refused
    return None
