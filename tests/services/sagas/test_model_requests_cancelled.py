"""Reason steps of cancelled sagas: neither a model nor a person is asked."""

import pytest

from domain.sagas.outcome import Failed, NotSent
from domain.sagas.step import Error
from services.kernel.unit_of_work import Database
from services.sagas.engine import given_up
from services.sagas.lifecycle import cancel_saga
from tests.services.model_world import answer, asked, go_on, model, reason, result
from tests.services.saga_turns import advance
from tests.services.saga_world import (
    die,
    error_of,
    pending_pauses,
    start,
    statuses,
    step,
    step_of,
)
from tests.services.world import OPERATOR, at_once, one

TOOLS = {"tools": {"allow": ["look", "book"]}}


def test_cancelled_while_a_model_thinks(database: Database) -> None:
    """The worker learns of it, and the step ends when its model request has stopped."""
    trace_id = start(database, step("a", undo=True), reason("b"))
    ask = asked(database, trace_id)
    assert given_up(database, [ask.lease]) == set()
    cancel_saga(database, OPERATOR, trace_id, "not needed")
    assert given_up(database, [ask.lease]) == {ask.lease.token}
    assert advance(database, trace_id) is None, "its worker is still at it"
    answer(database, ask, result(Failed(Error("CANCELLED", "stopped"))))
    assert go_on(database, trace_id, model()).names == ["undo_a"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")


@pytest.mark.parametrize("acted", [False, True])
def test_an_answer_that_comes_after_the_cancel(database: Database, acted: bool) -> None:
    """It was done and is compensated, without a review even for a moment."""
    trace_id = start(database, reason("a", undo=True))
    ask = asked(database, trace_id)
    cancel_saga(database, OPERATOR, trace_id, None)
    answer(database, ask, result(1))
    used = go_on(database, trace_id, model())
    assert used.calls[0].arguments["done"] == {"n": 1}
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPLETED")
    held = start(database, reason("a", undo=True, hitl=True, **TOOLS))
    ask = asked(database, held)
    cancel_saga(database, OPERATOR, held, "not needed")
    answer(database, ask, result(1, acted=acted))
    assert go_on(database, held, model()).names == (["undo_a"] if acted else [])
    assert one(database, "SELECT count(*) FROM pauses") == 0
    assert step_of(database, held, "a").error == Error("CANCELLED", "not needed")


@pytest.mark.parametrize("with_tools", [False, True])
def test_cancelled_after_its_worker_died(database: Database, with_tools: bool) -> None:
    """The model is not asked again after a cancellation, and what its tools did is compensated."""
    trace_id = start(database, step("a", undo=True), reason("b", undo=True, **(TOOLS if with_tools else {})))
    asked(database, trace_id)
    cancel_saga(database, OPERATOR, trace_id, None)
    die(database, trace_id)
    models = model()
    used = go_on(database, trace_id, models)
    assert (models.asked, error_of(database, trace_id, "b")) == ([], "CANCELLED")
    assert used.names == (["undo_b", "undo_a"] if with_tools else ["undo_a"])
    assert statuses(database, trace_id)[0] == "COMPENSATED"


def test_cancelled_while_it_waits_for_a_tool_server(database: Database) -> None:
    trace_id = start(database, reason("a", undo=True, **TOOLS))
    models = model(a=NotSent(Error("MCP_UNAVAILABLE", "away")))
    go_on(database, trace_id, models)
    cancel_saga(database, OPERATOR, trace_id, None)
    assert go_on(database, trace_id, models).names == []
    assert (len(models.asked), statuses(database, trace_id)) == (1, ("FAILED", "FAILED"))


def test_cancelled_while_it_is_held(database: Database) -> None:
    """The review is taken back with it."""
    trace_id = start(database, step("a", undo=True), reason("b", hitl=True))
    go_on(database, trace_id, model())
    assert cancel_saga(database, OPERATOR, trace_id, None) == "AWAITING_HUMAN"
    assert pending_pauses(database) == 0
    assert go_on(database, trace_id, model()).names == ["undo_a"]
    assert error_of(database, trace_id, "b") == "CANCELLED"


def test_answered_in_the_moment_of_the_cancel(database: Database) -> None:
    """Whichever comes first, no pending review is left in the end."""
    for _ in range(10):
        trace_id = start(database, reason("a", hitl=True))
        ask = asked(database, trace_id)
        at_once(
            [
                lambda ask=ask: answer(database, ask, result(1)),  # type: ignore[misc]
                lambda id_=trace_id: cancel_saga(database, OPERATOR, id_, None),  # type: ignore[misc]
            ]
        )
        go_on(database, trace_id, model())
        assert statuses(database, trace_id) == ("FAILED", "FAILED")
    assert pending_pauses(database) == 0
