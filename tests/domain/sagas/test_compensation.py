"""The steps that are undone, the order, and the facts that each undo receives."""

from itertools import permutations, product

import pytest

from domain.sagas.call_state import CallState
from domain.sagas.compensation import to_undo, undo_facts, undo_message, undone_if_rejected
from domain.sagas.step import Step, StepStatus

S, C = StepStatus, CallState


@pytest.mark.parametrize(("status", "call"), list(product(StepStatus, [C.CLOSED, C.OPEN])))
def test_what_may_have_acted_is_undone(status: StepStatus, call: CallState) -> None:
    """Done, or broken with a call that may have been carried out; nothing else, whatever its state."""
    step = Step(1, "pay", 0, status=status, call=call)
    expected = status is S.COMPLETED or (status in (S.FAILED, S.TIMED_OUT) and call is C.OPEN)
    assert to_undo([step], {"pay"}) == ((step,) if expected else ())


@pytest.mark.parametrize("undoable", [set(order[:size]) for order in permutations("abc") for size in range(4)])
def test_the_last_first_and_only_where_there_is_an_undo(undoable: set[str]) -> None:
    steps = [Step(place + 1, id_, place, status=S.COMPLETED) for place, id_ in enumerate("abc")]
    assert [step.id for step in to_undo(steps, undoable)] == [id_ for id_ in "cba" if id_ in undoable]


@pytest.mark.parametrize("acted", [False, True])
def test_what_a_rejection_would_undo(acted: bool) -> None:
    """The step that is held too, where its model has called tools that may have changed something."""
    done = [Step(place + 1, id_, place, status=S.COMPLETED) for place, id_ in enumerate("ab")]
    held = Step(3, "c", 2, status=S.AWAITING_HUMAN, call=C.OPEN if acted else C.CLOSED)
    later = Step(4, "d", 3)
    planned = undone_if_rejected([*done, held, later], held, {"a", "c", "d"})
    assert [step.id for step in planned] == (["c", "a"] if acted else ["a"])


def test_what_an_undo_sees_of_a_step_that_was_done() -> None:
    done = Step(1, "pay", 0, status=S.COMPLETED, output={"id": 7})
    assert undo_facts("u", "f", done, "key") == {
        "blind_cleanup": False,
        "dirty_failure": False,
        "has_forward_output": True,
        "idempotency_key": "key",
        "undo_span_id": "u",
        "forward_span_id": "f",
    }


def test_what_an_undo_sees_of_a_step_that_nobody_knows_about() -> None:
    lost = Step(1, "pay", 0, status=S.TIMED_OUT, call=C.OPEN)
    facts = undo_facts("u", "f", lost, "key")
    assert facts["blind_cleanup"]
    assert facts["dirty_failure"]
    assert not facts["has_forward_output"]


def test_the_message_to_a_model_ends_with_the_step_as_json() -> None:
    message = undo_message({"id": 7, "_compensation": {"blind_cleanup": True}})
    assert message.startswith("Undo a step of a longer task.")
    assert message.endswith('The step, as JSON:\n\n{"id":7,"_compensation":{"blind_cleanup":true}}')
