"""A restored database goes on: nothing that its original may have run since the backup runs again by itself."""

from typing import Any
from uuid import UUID

import pytest

from domain.pauses.pause import OnTimeout
from domain.sagas.outcome import Done
from domain.sagas.step import STUCK
from domain.values.errors import ApprovalExpired
from services.kernel.unit_of_work import Database
from services.log.row_verification import verify_rows
from services.operations import restores
from services.operations.restores import Resumed, release
from services.pauses.lifecycle import expire_due
from services.reviews.step_decisions import rerun_step
from services.sagas.queries import get_saga
from services.sagas.recovery import Retry, retry_compensation, retry_step
from tests.services.by_watch_id import consume, decide_pause, get_pause
from tests.services.saga_turns import advance, record
from tests.services.saga_world import (
    Tools,
    approve_held,
    claimed,
    current_ref,
    error_of,
    is_due,
    reject_held,
    saga_of,
    start,
    statuses,
    step,
    tools,
    undo_of,
    work,
)
from tests.services.world import ADMIN, AGENT, OPERATOR, REVIEWER, approve, change, expire, let_time_approve, one, post

HELD = step("b", hitl=True, undo=True)


def held_saga(database: Database, made: Tools, *more: dict[str, Any]) -> UUID:
    """A saga that has carried out its first step, and whose second one is held."""
    trace_id = start(database, step("a", undo=True), HELD, *more)
    work(database, trace_id, made)
    assert statuses(database, trace_id)[0] == "AWAITING_HUMAN"
    return trace_id


def check_rest(database: Database, trace_id: UUID) -> None:
    """It waits for an operator, who reads why. No worker gets it."""
    found = get_saga(database, OPERATOR, trace_id)
    assert (found["needs_operator"], found["error_details"]["code"]) == (True, STUCK)
    assert "the database was restored" in found["error_details"]["message"]
    assert not is_due(database, trace_id)
    assert advance(database, trace_id) is None


def go_on(database: Database, trace_id: UUID) -> None:
    assert retry_step(database, OPERATOR, current_ref(database, trace_id), Retry())["status"] == "requeued"


def test_a_step_that_was_due_waits_for_an_operator(database: Database) -> None:
    made, trace_id = tools(), start(database, step("a"))
    assert release(database, nothing_ran=False) == Resumed(sagas=1)
    check_rest(database, trace_id)
    go_on(database, trace_id)
    work(database, trace_id, made)
    assert (statuses(database, trace_id)[0], made.names) == ("COMPLETED", ["do_a"])


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_call_that_was_under_way_has_an_unknown_outcome(database: Database, idempotent: bool) -> None:
    """Also after the operator's word, it is repeated only if the tool bears that."""
    trace_id = start(database, step("a"))
    call = claimed(database, trace_id)
    release(database, nothing_ran=False)
    check_rest(database, trace_id)
    # The result of a worker of the time before the backup changes nothing.
    assert record(database, call, Done({"late": True}), {}, 0.5) is None
    check_rest(database, trace_id)
    go_on(database, trace_id)
    made = tools("do_a") if idempotent else tools()
    work(database, trace_id, made)
    if idempotent:
        assert (statuses(database, trace_id)[0], made.names) == ("COMPLETED", ["do_a"])
    else:
        assert (error_of(database, trace_id, "a"), made.names) == ("OUTCOME_UNKNOWN", [])


@pytest.mark.parametrize("end", ["approve", "reject", "expire", "rerun"])
def test_a_held_step_that_ends_waits_for_an_operator(database: Database, end: str) -> None:
    """The original may have run it, and all after it, or its undo."""
    made = tools()
    trace_id = held_saga(database, made)
    release(database, nothing_ran=False)
    made.calls.clear()
    if end == "approve":
        approve_held(database, trace_id)
    elif end == "reject":
        reject_held(database, trace_id)
    elif end == "rerun":
        rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    else:
        change(database, "UPDATE pauses SET expires_at = clock_timestamp() WHERE kind = 'step'")
        assert expire_due(database) == 1
    check_rest(database, trace_id)
    go_on(database, trace_id)
    work(database, trace_id, made)
    status, calls = {
        "approve": ("COMPLETED", ["do_b"]),
        "rerun": ("AWAITING_HUMAN", []),
    }.get(end, ("COMPENSATED", ["undo_a"]))
    assert (statuses(database, trace_id)[0], made.names) == (status, calls)


def test_an_operator_lets_reviewers_decide_on_a_held_step(database: Database) -> None:
    made = tools()
    trace_id = held_saga(database, made)
    release(database, nothing_ran=False)
    go_on(database, trace_id)
    work(database, trace_id, made)
    assert not saga_of(database, trace_id).needs_operator
    approve_held(database, trace_id)
    work(database, trace_id, made)
    assert (statuses(database, trace_id)[0], made.names) == ("COMPLETED", ["do_a", "do_b"])


def test_an_undo_waits_for_an_operator(database: Database) -> None:
    made = tools()
    trace_id = held_saga(database, made)
    reject_held(database, trace_id)
    release(database, nothing_ran=False)
    check_rest(database, trace_id)
    go_on(database, trace_id)
    undo = advance(database, trace_id)
    assert undo is not None
    release(database, nothing_ran=False)
    check_rest(database, trace_id)
    assert retry_compensation(database, OPERATOR, current_ref(database, trace_id), Retry())["status"] == "requeued"
    work(database, trace_id, made)
    assert undo_of(database, trace_id, "a").outcome_unknown
    assert made.names == ["do_a"]


def test_approvals_that_an_agent_may_have_used_end(database: Database) -> None:
    """Its agent requests another one. A deadline approves nothing."""
    let_time_approve(database)
    waits = post(database, on_timeout=OnTimeout.APPROVE)
    approved, short, used = (post(database, approval_valid_for=seconds) for seconds in (None, 60, 3600))
    for watch_id in (approved, short, used):
        decide_pause(database, REVIEWER, watch_id, approve())
    consume(database, AGENT, used)
    assert release(database, nothing_ran=False) == Resumed(pauses=3)
    for watch_id in (approved, short):
        with pytest.raises(ApprovalExpired):
            consume(database, AGENT, watch_id)
    assert consume(database, AGENT, used).repeated
    assert get_pause(database, REVIEWER, used).approval_valid_for == 3600
    # The log has the changes.
    assert verify_rows(database, ADMIN).bad == []
    expire(database, waits)
    assert expire_due(database) == 1
    assert get_pause(database, REVIEWER, waits).status == "expired"


def test_nothing_ran(database: Database) -> None:
    """An operator who knows that the original had stopped lets everything continue."""
    made, trace_id, watch_id = tools(), start(database, step("a")), post(database)
    decide_pause(database, REVIEWER, watch_id, approve())
    assert release(database, nothing_ran=True) == Resumed()
    work(database, trace_id, made)
    assert made.names == ["do_a"]
    assert consume(database, AGENT, watch_id).document["consumption"]


def test_everything_in_several_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restores, "BATCH", 2)
    for _ in range(4):
        start(database, step("a"))
        decide_pause(database, REVIEWER, post(database), approve())
    assert release(database, nothing_ran=False) == Resumed(sagas=4, pauses=4)
    assert release(database, nothing_ran=False) == Resumed()
    assert one(database, "SELECT count(*) FROM sagas WHERE due_at IS NOT NULL") == 0
