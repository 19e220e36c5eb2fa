"""PostgreSQL goes away in the answer to a COMMIT: the worker asks again, and must find what it has already stored."""

import pytest

from domain.sagas.outcome import Done, Failed, Outcome
from domain.sagas.step import Error
from services.kernel.unit_of_work import Database
from services.sagas.work import ToolCall
from tests.services.saga_turns import record
from tests.services.saga_world import claimed, saga_of, start, step

DONE, FAILED = Done({"of": "it"}), Failed(Error("TOOL_INVOKE_FAILED", "no"))


@pytest.mark.parametrize(("second", "next_tool"), [(DONE, "do_c"), (FAILED, "undo_a")])
def test_a_result_that_was_stored_before_leads_to_the_same_call(
    database: Database, second: Outcome, next_tool: str
) -> None:
    """The next call has not been made, so its outcome must not be recorded as unknown."""
    trace_id = start(database, step("a", undo=True), step("b"), step("c"))
    call = record_twice(database, claimed(database, trace_id), DONE)
    call = record_twice(database, call, second)
    assert (call.tool, call.again) == (next_tool, False)
    assert record(database, call, DONE, {}, 0.5) is None
    assert record(database, call, DONE, {}, 0.5) is None
    assert saga_of(database, trace_id).status == ("COMPLETED" if second is DONE else "COMPENSATED")


def record_twice(database: Database, call: ToolCall, outcome: Outcome) -> ToolCall:
    following = record(database, call, outcome, {}, 0.5)
    assert following is not None
    assert record(database, call, outcome, {}, 0.5) == following
    return following
