"""Held steps: through either door, each decision once, and what runs is what was approved."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from domain.sagas.step import Error
from domain.values import canonical_json
from domain.values.errors import AlreadyResolved, Invalid, NotFound, SelfDecision, WrongState
from services.kernel.leases import DECISION
from services.kernel.unit_of_work import Database, WakeUp
from services.pauses.lifecycle import expire_due
from services.reviews.step_decisions import Accepted, RetriesUsedUp, decide_step, rerun_step
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import StepRef
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.saga_world import (
    EVENTS,
    approve_held,
    current_ref,
    error_of,
    is_due,
    pending_pauses,
    saga_of,
    start,
    statuses,
    step,
    step_of,
    tools,
    watch_of,
    work,
)
from tests.services.world import (
    AGENT,
    OPERATOR,
    REVIEWER,
    Role,
    an_endpoint,
    approve,
    at_once,
    cancel,
    change,
    deliveries,
    expire,
    let_time_approve,
    one,
    reject,
    someone,
)


@pytest.fixture
def held(database: Database) -> UUID:
    """Step b of a, b is held; a was done, and can be undone."""
    trace_id = start(database, step("a", undo=True), step("b", undo=True, hitl=True, hitl_max_retries=2))
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "COMPLETED", "AWAITING_HUMAN")
    return trace_id


def test_a_hold_is_a_pause(database: Database) -> None:
    """In the same queue, with what a reviewer has to know; the saga waits, and no worker with it."""
    an_endpoint(database, event_types=(*EVENTS, "pause.created"))
    trace_id = start(database, step("a", hitl=True, hitl_timeout_seconds=60, name="Pay"))
    work(database, trace_id, tools())
    pause = get_pause(database, REVIEWER, watch_of(database, trace_id))
    held = step_of(database, trace_id, "a")
    assert (pause.kind, pause.action, pause.namespace, pause.created_by) == ("step", "s: Pay", "default", AGENT.id)
    assert pause.expires_at is not None
    assert (pause.expires_at - pause.created_at).total_seconds() == 60
    assert (pause.arguments, pause.arguments_digest) == ({"n": 1}, canonical_json.digest({"n": 1}))
    assert pause.context is not None
    assert (pause.context["trace_id"], pause.context["step_span_id"]) == (trace_id.hex, f"{held.span_id:016x}")
    assert not is_due(database, trace_id)
    assert [each["type"] for each in deliveries(database)] == ["pause.created", "saga.awaiting_human"]


@pytest.mark.parametrize("door", ["pause", "step"])
def test_approved(database: Database, publisher: Recorded, held: UUID, door: str) -> None:
    """Through either door; a worker is hinted at, and calls exactly what was approved."""
    which = current_ref(database, held)
    if door == "pause":
        approve_held(database, held)
    else:
        assert decide_step(database, REVIEWER, which, approve()) == Accepted(False, decided_key(database, held))
        assert decide_step(database, REVIEWER, which, approve()).repeated
    assert WakeUp(DECISION, held) in publisher.wakeups
    used = tools()
    work(database, held, used)
    assert [(call.tool, call.arguments) for call in used.calls] == [("do_b", {"n": 1})]
    assert statuses(database, held) == ("COMPLETED", "COMPLETED", "COMPLETED")


def decided_key(database: Database, trace_id: UUID) -> str:
    watch_id = saga_of(database, trace_id).steps[1].watch_id
    assert watch_id is not None
    return f"decide-{watch_id.hex}"


def test_approved_with_other_arguments(database: Database, held: UUID) -> None:
    """The call runs with the reviewer's edit."""
    approve_held(database, held, arguments={"n": 2, "note": "less"})
    used = tools()
    work(database, held, used)
    assert [call.arguments for call in used.calls] == [{"n": 2, "note": "less"}]
    done = step_of(database, held, "b")
    assert done.arguments == {"n": 2, "note": "less"}
    assert done.arguments_digest == canonical_json.digest({"n": 2, "note": "less"})


def test_approved_with_arguments_that_the_policy_does_not_allow(database: Database) -> None:
    """A reviewer may change what is called, not what may be called. Also an edit that an earlier release accepted."""
    limit = {"name": "limit", "cel": "arguments.n <= 10"}
    trace_id = start(database, step("a", hitl=True, policy=limit), n=1)
    used = tools()
    work(database, trace_id, used)
    approve_held(database, trace_id)
    edited = {"arguments": '{"n": 11}', "digest": canonical_json.digest({"n": 11})}
    change(database, "UPDATE pauses SET arguments = :arguments, arguments_digest = :digest", **edited)
    work(database, trace_id, used)
    assert used.calls == []
    error = step_of(database, trace_id, "a").error
    assert error is not None
    assert error.code == "POLICY_COMMIT_DENIED"


def test_the_step_door_changes_no_arguments(database: Database, held: UUID) -> None:
    """A commit step has no output to override before it ran."""
    with pytest.raises(Invalid):
        decide_step(database, REVIEWER, current_ref(database, held), approve(arguments={"n": 2}))
    assert pending_pauses(database) == 1


def test_rejected(database: Database, held: UUID) -> None:
    """The step is never called, its error has the reason, and earlier steps are compensated."""
    which = current_ref(database, held)
    decide_step(database, REVIEWER, which, reject(comment="too much", response={"code": "LIMIT"}))
    used = tools()
    work(database, held, used)
    assert used.names == ["undo_a"]
    assert step_of(database, held, "b").error == Error("LIMIT", "too much")
    assert statuses(database, held) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")
    with pytest.raises(AlreadyResolved) as refused:
        decide_step(database, REVIEWER, which, approve())
    assert refused.value.current["status"] == "rejected"
    with pytest.raises(WrongState):
        rerun_step(database, REVIEWER, which, None, None)


@pytest.mark.parametrize(
    ("on_timeout", "code", "called"),
    [("expire", "HITL_EXPIRED", []), ("reject", "HUMAN_REJECTED", []), ("approve", None, ["do_a"])],
)
def test_nobody_decided_in_time(database: Database, on_timeout: str, code: str | None, called: list[str]) -> None:
    """As the manifest says; by default silence is no consent."""
    let_time_approve(database)
    trace_id = start(database, step("a", hitl=True, hitl_timeout_seconds=60, hitl_on_timeout=on_timeout))
    used = tools()
    work(database, trace_id, used)
    expire(database, watch_of(database, trace_id))
    assert expire_due(database) == 1
    work(database, trace_id, used)
    assert (used.names, error_of(database, trace_id, "a")) == (called, code)
    assert statuses(database, trace_id)[0] == ("COMPLETED" if called else "FAILED")


def test_taken_back_by_who_started_it(database: Database, held: UUID) -> None:
    """Its creator may cancel a pause; then the step fails like after a rejection."""
    decide_pause(database, AGENT, watch_of(database, held), cancel())
    used = tools()
    work(database, held, used)
    assert used.names == ["undo_a"]
    assert error_of(database, held, "b") == "CANCELLED"


def test_who_started_it_does_not_decide(database: Database, held: UUID) -> None:
    starter = someone(Role.REVIEWER, id_=AGENT.id)
    with pytest.raises(SelfDecision):
        decide_step(database, starter, current_ref(database, held), approve(starter))
    assert pending_pauses(database) == 1


def test_run_again(database: Database, publisher: Recorded, held: UUID) -> None:
    """Another pause holds the step, with the guidance. The old pause is closed, and a webhook announces the new one."""
    an_endpoint(database, event_types=EVENTS)
    which, first = current_ref(database, held), watch_of(database, held)
    assert rerun_step(database, REVIEWER, which, "cheaper", None) == Accepted(False, f"retry-{which.span}-1")
    assert get_pause(database, REVIEWER, first).status == "cancelled"
    assert WakeUp(DECISION, held) in publisher.wakeups
    used = tools()
    work(database, held, used)
    again = step_of(database, held, "b")
    assert watch_of(database, held) != first
    assert (again.retries, again.guidance, used.calls) == (1, "cheaper", [])
    assert [each["type"] for each in deliveries(database)] == ["saga.awaiting_human"]
    with pytest.raises(AlreadyResolved):
        decide_pause(database, REVIEWER, first, approve())
    approve_held(database, held)
    work(database, held, used)
    assert used.names == ["do_b"]


def test_as_often_as_the_manifest_allows(database: Database, held: UUID) -> None:
    """Then it has to be approved or rejected: the pause stays as it is."""
    for _ in range(2):
        rerun_step(database, REVIEWER, current_ref(database, held), None, None)
        work(database, held, tools())
    with pytest.raises(RetriesUsedUp):
        rerun_step(database, REVIEWER, current_ref(database, held), None, None)
    assert pending_pauses(database) == 1
    assert statuses(database, held)[0] == "AWAITING_HUMAN"


def test_one_wish_with_a_token_counts_once(database: Database, held: UUID) -> None:
    """Repeated later, and at the same moment."""
    which = current_ref(database, held)
    answers = at_once([lambda: rerun_step(database, REVIEWER, which, None, "my-wish")] * 6)
    assert sorted(answer.repeated for answer in answers) == [False, *[True] * 5]  # type: ignore[union-attr]
    assert {answer.key for answer in answers} == {f"retry-{which.span}-1"}  # type: ignore[union-attr]
    work(database, held, tools())
    assert rerun_step(database, REVIEWER, which, None, "my-wish").repeated
    assert step_of(database, held, "b").retries == 1


def test_a_token_of_a_wish_before_the_last_one_is_known_too(database: Database, held: UUID) -> None:
    """Said again when others have asked since: what is held now is another answer, and stays."""
    which = current_ref(database, held)
    first = rerun_step(database, REVIEWER, which, None, "one")
    work(database, held, tools())
    rerun_step(database, OPERATOR, which, None, "two")
    work(database, held, tools())
    assert rerun_step(database, REVIEWER, which, None, "one") == Accepted(True, first.key)
    assert (step_of(database, held, "b").retries, pending_pauses(database)) == (2, 1)


def test_run_again_too_late(database: Database) -> None:
    """From its deadline on only the timeout counts, also where this request is the first to notice."""
    trace_id = start(database, step("a", hitl=True, hitl_timeout_seconds=60))
    work(database, trace_id, tools())
    which = current_ref(database, trace_id)
    expire(database, watch_of(database, trace_id))
    with pytest.raises(AlreadyResolved) as refused:
        rerun_step(database, REVIEWER, which, None, None)
    assert refused.value.current["status"] == "expired"
    work(database, trace_id, tools())
    assert error_of(database, trace_id, "a") == "HITL_EXPIRED"


def test_contrary_decisions_at_once(database: Database, held: UUID) -> None:
    """One wins, whoever asked by whichever door, and only what it says happens."""
    which, watch_id = current_ref(database, held), watch_of(database, held)
    doors: list[Callable[[], object]] = [
        partial(decide_step, database, REVIEWER, which, approve()),
        partial(decide_step, database, REVIEWER, which, reject()),
        partial(decide_pause, database, REVIEWER, watch_id, approve()),
        partial(decide_pause, database, REVIEWER, watch_id, reject()),
        partial(rerun_step, database, REVIEWER, which, None, None),
        partial(cancel_saga, database, OPERATOR, held, None),
    ]
    answers = at_once(doors * 2)
    assert not [
        each for each in answers if isinstance(each, Exception) and not isinstance(each, AlreadyResolved | WrongState)
    ]
    used = tools()
    work(database, held, used)
    outcome = one(database, "SELECT status FROM pauses WHERE kind = 'step' ORDER BY id LIMIT 1")
    cancelled = saga_of(database, held).cancelled is not None
    assert cancelled
    assert outcome in ("approved", "rejected", "cancelled")
    assert used.names == ["undo_a"]
    assert pending_pauses(database) == 0


def test_what_is_not_held(database: Database, held: UUID) -> None:
    a = saga_of(database, held).steps[0]
    with pytest.raises(WrongState) as refused:
        decide_step(database, REVIEWER, StepRef(held, f"{a.span_id:016x}"), approve())
    assert refused.value.code == "STEP_COMPLETED"
    with pytest.raises(NotFound):
        decide_step(database, REVIEWER, StepRef(held, "0" * 16), approve())
    with pytest.raises(NotFound):
        decide_step(database, REVIEWER, StepRef(held, current_ref(database, held).span, "other"), approve())
    stranger = someone(Role.REVIEWER, "other")
    with pytest.raises(NotFound):
        decide_step(database, stranger, current_ref(database, held), approve(stranger))


def test_a_decision_repeated_after_it_ran(database: Database, held: UUID) -> None:
    """Still known, and nothing runs again."""
    which = current_ref(database, held)
    decide_step(database, REVIEWER, which, approve())
    used = tools()
    work(database, held, used)
    assert decide_step(database, REVIEWER, which, approve()).repeated
    with pytest.raises(AlreadyResolved):
        decide_step(database, REVIEWER, which, reject())
    work(database, held, used)
    assert used.names == ["do_b"]
