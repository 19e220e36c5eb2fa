"""Undos with several tools: a model undoes, and says whether it is undone."""

from typing import Any

import pytest

from domain.sagas.outcome import Done, Failed, Lost, TimedOut
from domain.sagas.step import Error
from domain.values.errors import InvalidManifest
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.engine import given_up
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import Retry, resolve, retry_compensation
from tests.services.model_world import asked, go_on, model, result
from tests.services.saga_world import (
    OF_WORKER,
    WORKER,
    error_of,
    ref,
    start,
    statuses,
    step,
    tools,
    undo_of,
)
from tests.services.world import ADMIN, OPERATOR

REFUSED = Failed(Error("TOOL_INVOKE_FAILED", "no"))
UNDONE, NOT_UNDONE = {"undone": True, "summary": "taken back"}, {"undone": False, "summary": "it is sealed"}


def paid(**more: Any) -> dict[str, Any]:
    """A step that a model undoes."""
    undo = {**OF_WORKER, "with": {"n": {"from": "$.input.n"}}, "tools": ["look", "take_back"], **more}
    return step("pay") | {"compensation": undo}


def test_the_model_request_of_an_undo(database: Database) -> None:
    saga = start(database, paid(max_turns=3), step("ship"), n=7)
    used, mind = tools(do_ship=REFUSED), model(pay=result(Done(UNDONE)))
    go_on(database, saga, mind, used)
    (ask,) = mind.asked
    assert ask.undoes
    assert (ask.reasoning.tools, ask.reasoning.max_turns) == (("look", "take_back"), 3)
    assert (ask.arguments["n"], ask.arguments["_compensation"]["has_forward_output"]) == (7, True)
    assert ask.idempotency_key.startswith(f"comp-{saga.hex}-")
    assert statuses(database, saga) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")
    assert undo_of(database, saga, "pay").output == UNDONE


def test_what_is_not_undone_stops_the_undoing(database: Database) -> None:
    saga = start(database, step("first", undo=True), paid(), step("ship"))
    used = tools(do_ship=REFUSED)
    go_on(database, saga, model(pay=result(Done(NOT_UNDONE))), used)
    failed = undo_of(database, saga, "pay")
    assert failed.error == Error("UNDO_NOT_DONE", "it is sealed")
    assert statuses(database, saga)[0] == "FAILED"
    assert "undo_first" not in used.names
    retry_compensation(database, OPERATOR, ref(saga, failed), Retry())
    go_on(database, saga, model(pay=result(Done(UNDONE))), used)
    assert statuses(database, saga)[0] == "COMPENSATED"
    assert used.names[-1] == "undo_first"


def test_an_operator_settles_an_undo_of_unknown_outcome(database: Database) -> None:
    saga = start(database, paid(), step("ship"))
    go_on(database, saga, model(pay=result(Lost("the worker ended", False))), tools(do_ship=REFUSED))
    undo = undo_of(database, saga, "pay")
    assert undo.outcome_unknown
    resolve(database, OPERATOR, ref(saga, undo), done=True, output=UNDONE, evidence="seen in the ledger")
    go_on(database, saga, model())
    assert statuses(database, saga)[0] == "COMPENSATED"


def test_too_late_is_not_undone(database: Database) -> None:
    saga = start(database, paid(), step("ship"))
    late = TimedOut(Error("STEP_TIMED_OUT", "no answer"), acted=False)
    go_on(database, saga, model(pay=result(late)), tools(do_ship=REFUSED))
    assert (statuses(database, saga)[0], undo_of(database, saga, "pay").status) == ("FAILED", "TIMED_OUT")


def test_a_cancelled_sagas_undo_is_wanted(database: Database) -> None:
    """This differs from a model that was asked before a cancellation."""
    saga = start(database, paid(), step("ship", hitl=True))
    go_on(database, saga, model())
    cancel_saga(database, OPERATOR, saga, "enough")
    ask = asked(database, saga)
    assert ask.undoes
    assert given_up(database, [ask.lease]) == set()
    assert error_of(database, saga, "ship") == "CANCELLED"


def test_its_worker_needs_a_model(database: Database) -> None:
    deploy(database, ADMIN, {name: value for name, value in WORKER.items() if name != "provider"}, replace=False)
    saga = {"kind": "saga", "name": "s", "version": "1", "steps": [paid()]}
    with pytest.raises(InvalidManifest) as caught:
        deploy(database, ADMIN, saga, replace=False)
    assert [field_error.path for field_error in caught.value.field_errors] == ["steps[0].compensation.worker"]
