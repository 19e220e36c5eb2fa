"""Undos with several tools: a model undoes, and says whether it is undone."""

from typing import Any

import pytest

from domain.sagas.outcome import Done, Failed, Lost, TimedOut
from domain.sagas.step import Error
from domain.values.errors import InvalidManifest
from services.kernel.unit_of_work import Store
from services.manifests.definitions import deploy
from services.sagas.engine import given_up
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import Retry, resolve, retry_compensation
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
from tests.services.thought_world import asked, go_on, model, thought
from tests.services.world import ADMIN, OPERATOR

REFUSED = Failed(Error("TOOL_INVOKE_FAILED", "no"))
UNDONE, NOT_UNDONE = {"undone": True, "summary": "taken back"}, {"undone": False, "summary": "it is sealed"}


def paid(**more: Any) -> dict[str, Any]:
    """A step that a model undoes."""
    undo = {**OF_WORKER, "with": {"n": {"from": "$.input.n"}}, "tools": ["look", "take_back"], **more}
    return step("pay") | {"compensation": undo}


def test_what_the_model_is_asked(store: Store) -> None:
    saga = start(store, paid(max_turns=3), step("ship"), n=7)
    used, mind = tools(do_ship=REFUSED), model(pay=thought(Done(UNDONE)))
    go_on(store, saga, mind, used)
    (ask,) = mind.asked
    assert ask.undoes
    assert (ask.thinking.tools, ask.thinking.max_turns) == (("look", "take_back"), 3)
    assert (ask.arguments["n"], ask.arguments["_compensation"]["has_forward_output"]) == (7, True)
    assert ask.idempotency_key.startswith(f"comp-{saga.hex}-")
    assert statuses(store, saga) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")
    assert undo_of(store, saga, "pay").output == UNDONE


def test_what_is_not_undone_stops_the_undoing(store: Store) -> None:
    saga = start(store, step("first", undo=True), paid(), step("ship"))
    used = tools(do_ship=REFUSED)
    go_on(store, saga, model(pay=thought(Done(NOT_UNDONE))), used)
    failed = undo_of(store, saga, "pay")
    assert failed.error == Error("UNDO_NOT_DONE", "it is sealed")
    assert statuses(store, saga)[0] == "FAILED"
    assert "undo_first" not in used.names
    retry_compensation(store, OPERATOR, ref(saga, failed), Retry())
    go_on(store, saga, model(pay=thought(Done(UNDONE))), used)
    assert statuses(store, saga)[0] == "COMPENSATED"
    assert used.names[-1] == "undo_first"


def test_what_nobody_knows_is_asked(store: Store) -> None:
    saga = start(store, paid(), step("ship"))
    go_on(store, saga, model(pay=thought(Lost("the worker ended", False))), tools(do_ship=REFUSED))
    undo = undo_of(store, saga, "pay")
    assert undo.outcome_unknown
    resolve(store, OPERATOR, ref(saga, undo), done=True, output=UNDONE, evidence="seen in the ledger")
    go_on(store, saga, model())
    assert statuses(store, saga)[0] == "COMPENSATED"


def test_too_late_is_not_undone(store: Store) -> None:
    saga = start(store, paid(), step("ship"))
    late = TimedOut(Error("STEP_TIMED_OUT", "no answer"), acted=False)
    go_on(store, saga, model(pay=thought(late)), tools(do_ship=REFUSED))
    assert (statuses(store, saga)[0], undo_of(store, saga, "pay").status) == ("FAILED", "TIMED_OUT")


def test_a_cancelled_sagas_undo_is_wanted(store: Store) -> None:
    """Other than a model that was asked before somebody cancelled."""
    saga = start(store, paid(), step("ship", hitl=True))
    go_on(store, saga, model())
    cancel_saga(store, OPERATOR, saga, "enough")
    ask = asked(store, saga)
    assert ask.undoes
    assert given_up(store, [ask.lease]) == set()
    assert error_of(store, saga, "ship") == "CANCELLED"


def test_its_worker_needs_a_model(store: Store) -> None:
    deploy(store, ADMIN, {name: value for name, value in WORKER.items() if name != "provider"}, replace=False)
    saga = {"kind": "saga", "name": "s", "version": "1", "steps": [paid()]}
    with pytest.raises(InvalidManifest) as caught:
        deploy(store, ADMIN, saga, replace=False)
    assert [fault.path for fault in caught.value.faults] == ["steps[0].compensation.worker"]
