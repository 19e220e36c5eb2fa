"""PostgreSQL goes away in the answer to a COMMIT: the worker asks again, and must find what it has already stored."""

import pytest

from domain.sagas.outcome import Done, Failed, Outcome
from domain.sagas.step import Error
from services.kernel.unit_of_work import Store
from services.sagas.engine import record
from services.sagas.work import Call
from tests.services.saga_world import claimed, saga_of, start, step

DONE, FAILED = Done({"of": "it"}), Failed(Error("TOOL_INVOKE_FAILED", "no"))


@pytest.mark.parametrize(("second", "next_tool"), [(DONE, "do_c"), (FAILED, "undo_a")])
def test_a_result_that_was_stored_before_leads_to_the_same_call(store: Store, second: Outcome, next_tool: str) -> None:
    """The next call has not been made: nobody may say that its outcome is unknown."""
    trace_id = start(store, step("a", undo=True), step("b"), step("c"))
    call = record_twice(store, claimed(store, trace_id), DONE)
    call = record_twice(store, call, second)
    assert (call.tool, call.again) == (next_tool, False)
    assert record(store, call, DONE, {}, 0.5) is None
    assert record(store, call, DONE, {}, 0.5) is None
    assert saga_of(store, trace_id).status == ("COMPLETED" if second is DONE else "COMPENSATED")


def record_twice(store: Store, call: Call, outcome: Outcome) -> Call:
    following = record(store, call, outcome, {}, 0.5)
    assert following is not None
    assert record(store, call, outcome, {}, 0.5) == following
    return following
