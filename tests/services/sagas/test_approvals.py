"""The engine uses the approval of a held step, and reports its outcome."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest

from domain.identity.access import Role
from domain.sagas.outcome import Failed, Lost, Outcome
from domain.sagas.step import Error
from domain.values.errors import DomainError
from services.kernel.unit_of_work import Database
from services.log.row_verification import verify_rows
from services.pauses.execution import sweep_missing_outcomes
from services.pauses.queries import count_needing_look
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import resolve
from tests.services.by_watch_id import consume
from tests.services.saga_turns import advance
from tests.services.saga_world import (
    approve_held,
    claimed,
    current_ref,
    ref,
    reject_held,
    start,
    step,
    step_of,
    tools,
    watch_of,
    work,
)
from tests.services.world import ADMIN, OPERATOR, REVIEWER, an_endpoint, at_once, deliveries, rows, someone

EVENTS = ("pause.consumed", "pause.outcome", "pause.outcome_missing")


def held(database: Database, **answers: Outcome | list[Outcome]) -> tuple[UUID, Any]:
    """A saga whose only step is approved, and its tools."""
    trace_id, made = start(database, step("a", hitl=True)), tools(**answers)
    work(database, trace_id, made)
    return trace_id, made


def use(database: Database) -> dict[str, Any]:
    query = "SELECT consumed_with, outcome_status, outcome_note, outcome_due_at IS NULL AS told FROM pauses"
    return rows(database, query)[-1]


def test_an_approved_call_is_used_and_reported(database: Database) -> None:
    """The key is that of the call. The use is stored before the call begins."""
    an_endpoint(database, event_types=EVENTS)
    trace_id, _ = held(database)
    approve_held(database, trace_id)
    call = claimed(database, trace_id)
    unused = {"outcome_status": None, "outcome_note": None}
    assert use(database) == {"consumed_with": call.idempotency_key, **unused, "told": False}
    assert sweep_missing_outcomes(database) == 0
    assert verify_rows(database, ADMIN).bad == []


@pytest.mark.parametrize(
    ("answer", "status", "note"),
    [
        (None, "succeeded", None),
        (Failed(Error("TOOL_INVOKE_FAILED", "no money")), "failed", "TOOL_INVOKE_FAILED: no money"),
        (Lost("the line broke", False), "unknown", "OUTCOME_UNKNOWN: the line broke"),
    ],
)
def test_the_outcome_is_that_of_the_call(
    database: Database, answer: Outcome | None, status: str, note: str | None
) -> None:
    an_endpoint(database, event_types=EVENTS)
    trace_id, made = held(database, **({} if answer is None else {"do_a": answer}))
    approve_held(database, trace_id)
    work(database, trace_id, made)
    found = use(database)
    assert (found["outcome_status"], found["told"]) == (status, True)
    assert note is None or found["outcome_note"].startswith(note)
    expected = ["pause.consumed", "pause.outcome", *(["pause.outcome_missing"] if status == "unknown" else [])]
    assert sorted(each["type"] for each in deliveries(database)) == expected
    assert count_needing_look(database, ADMIN) == 0, "the saga itself asks for an operator"
    assert verify_rows(database, ADMIN).bad == []


@pytest.mark.parametrize(("done", "status"), [(True, "succeeded"), (False, "failed")])
def test_an_operator_settles_an_unknown_outcome(database: Database, done: bool, status: str) -> None:
    trace_id, made = held(database, do_a=Lost("the line broke", False))
    approve_held(database, trace_id)
    work(database, trace_id, made)
    which = ref(trace_id, step_of(database, trace_id, "a"))
    resolve(database, OPERATOR, which, done=done, output={"ok": True}, evidence="asked the bank")
    assert use(database)["outcome_status"] == status
    assert "asked the bank" in use(database)["outcome_note"]
    assert verify_rows(database, ADMIN).bad == []


def test_what_is_rejected_is_not_used(database: Database) -> None:
    trace_id, made = held(database)
    reject_held(database, trace_id)
    work(database, trace_id, made)
    assert use(database)["consumed_with"] is None


def test_no_agent_uses_the_approval_of_a_step(database: Database) -> None:
    trace_id, _ = held(database)
    watch_id = watch_of(database, trace_id)
    approve_held(database, trace_id)
    with pytest.raises(DomainError, match="the saga itself uses the approval"):
        consume(database, someone(Role.ADMIN, "*"), watch_id)


def test_requests_at_the_moment_of_the_use_wait_for_no_circle(database: Database) -> None:
    """A rerun and a cancellation lock a pause before its saga, the engine an approved one after it."""
    for _ in range(10):
        trace_id, _ = held(database)
        which = current_ref(database, trace_id)
        approve_held(database, trace_id)
        calls = [
            partial(advance, database, trace_id),
            partial(rerun_step, database, REVIEWER, which, None, None),
            partial(cancel_saga, database, OPERATOR, trace_id, "no"),
        ]
        answers = at_once([*calls, *calls])  # type: ignore[list-item]
        assert [each for each in answers if isinstance(each, Exception) and not isinstance(each, DomainError)] == []
