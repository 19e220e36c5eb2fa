"""The machine of a saga: every transition there is, whose turn it is, and what the end of a step means."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, product
from typing import Any
from uuid import UUID

import pytest

from domain.sagas import step as steps
from domain.sagas.call_state import CallState
from domain.sagas.saga import (
    FORWARD,
    TERMINAL,
    TRANSITIONS,
    Saga,
    SagaStatus,
    change_step,
    context,
    resume_undoing,
    seen_to,
    settle,
)
from domain.sagas.step import OUTCOME_UNKNOWN, Error, Step, StepStatus
from domain.values.errors import WrongState

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
C, G, S = CallState, SagaStatus, StepStatus
WATCH = UUID(int=7)
LOST = Error(OUTCOME_UNKNOWN, "lost")
# Written out a second time, on purpose: a row that is lost from the table, or slips in, is a change of the product.
EXPECTED = {
    G.PENDING: {G.RUNNING, G.AWAITING_HUMAN, G.COMPLETED, G.COMPENSATING, G.FAILED},
    G.RUNNING: {G.AWAITING_HUMAN, G.COMPLETED, G.COMPENSATING, G.FAILED},
    G.AWAITING_HUMAN: {G.RUNNING, G.COMPLETED, G.COMPENSATING, G.FAILED},
    G.COMPENSATING: {G.COMPENSATED, G.FAILED},
    G.FAILED: {G.COMPENSATING},
    G.COMPLETED: set(),
    G.COMPENSATED: set(),
}


def span_ids() -> Callable[[], int]:
    numbers = count(100)
    return lambda: next(numbers)


def a_saga(*statuses: StepStatus, status: SagaStatus = G.RUNNING, **last: Any) -> Saga:
    """Return a saga of steps a, b, c … in these states; `last` changes the last of them."""
    made = [Step(n + 1, "abcdefgh"[n], n, status=each, watch_id=WATCH) for n, each in enumerate(statuses)]
    made[-1] = replace(made[-1], **last)
    return Saga(UUID(int=1), "default", status, {}, tuple(made))


def settled(saga: Saga, undoable: str = "abcdefgh") -> Saga:
    return settle(saga, set(undoable), span_ids(), T0)


def undoing(*undos: StepStatus, **last: Any) -> Saga:
    """Steps a and b were done, and are being undone."""
    planned = settled(a_saga(S.COMPLETED, S.COMPLETED, S.FAILED))
    made = [replace(undo, status=status) for undo, status in zip(planned.undos, undos, strict=True)]
    made[-1] = replace(made[-1], **last)
    return replace(planned, undos=tuple(made))


def statuses(saga: Saga) -> list[StepStatus]:
    return [step.status for step in saga.steps]


def test_the_table() -> None:
    assert {status: set(targets) for status, targets in TRANSITIONS.items()} == EXPECTED
    assert FORWARD | TERMINAL | {G.COMPENSATING} == set(G)


# The ways from one state to another: each has a saga that takes it when it is settled.
WAYS: dict[tuple[SagaStatus, SagaStatus], Saga] = {
    **{
        (before, after): replace(saga, status=before)
        for before in FORWARD
        for after, saga in {
            G.RUNNING: a_saga(S.IN_PROGRESS),
            G.AWAITING_HUMAN: a_saga(S.AWAITING_HUMAN),
            G.COMPLETED: a_saga(S.COMPLETED, S.SKIPPED),
            G.COMPENSATING: a_saga(S.COMPLETED, S.FAILED),
            G.FAILED: a_saga(S.FAILED),
        }.items()
        if before is not after
    },
    (G.COMPENSATING, G.COMPENSATED): undoing(S.COMPLETED, S.COMPLETED),
    (G.COMPENSATING, G.FAILED): undoing(S.FAILED, S.PENDING),
}


@pytest.mark.parametrize(("before", "after"), list(product(G, G)))
def test_every_pair(before: SagaStatus, after: SagaStatus) -> None:
    """Each way of the table is taken by some saga; what would be another way raises, or stays."""
    if (before, after) == (G.FAILED, G.COMPENSATING):
        assert resume_undoing(replace(undoing(S.FAILED, S.PENDING), status=G.FAILED), T0).status is G.COMPENSATING
    elif after in EXPECTED[before]:
        moved = settled(WAYS[before, after])
        assert moved.status is after
        assert moved.ended_at == (T0 if after in TERMINAL else None)
    elif before in TERMINAL:
        for way in WAYS.values():
            ended = replace(way, status=before)
            assert settled(ended) is ended
        if before is not G.FAILED:
            with pytest.raises(WrongState) as refused:
                resume_undoing(replace(undoing(S.FAILED, S.PENDING), status=before), T0)
            assert refused.value.code == f"SAGA_{before}"


def test_a_saga_that_has_not_begun_stays_pending() -> None:
    """Accepted is not running."""
    fresh = a_saga(S.PENDING, S.PENDING, status=G.PENDING)
    assert settled(fresh) is fresh


@pytest.mark.parametrize(
    ("saga", "turn"),
    [
        (a_saga(S.PENDING, S.PENDING), "a"),
        (a_saga(S.COMPLETED, S.SKIPPED, S.PENDING), "c"),
        (a_saga(S.COMPLETED, S.AWAITING_HUMAN, S.PENDING), "b"),
        (a_saga(S.COMPLETED, S.FAILED), "b"),
        (a_saga(S.COMPLETED), None),
    ],
)
def test_whose_turn_it_is(saga: Saga, turn: str | None) -> None:
    assert (saga.current.id if saga.current else None) == turn


def test_whose_undo_it_is() -> None:
    """The last step's first; then the one before."""
    (first, second) = undoing(S.PENDING, S.PENDING).undos
    assert (first.id, second.id) == ("b", "a")
    assert undoing(S.PENDING, S.PENDING).current == first
    assert undoing(S.COMPLETED, S.PENDING).current == second
    assert undoing(S.COMPLETED, S.COMPLETED).current is None


@pytest.mark.parametrize("broken", [S.FAILED, S.TIMED_OUT])
@pytest.mark.parametrize("call", [C.CLOSED, C.OPEN])
def test_a_broken_step_ends_the_way_forward(broken: StepStatus, call: CallState) -> None:
    """The later steps never run. The completed ones are undone, the last first; so is the broken one, if in doubt."""
    saga = a_saga(S.COMPLETED, S.SKIPPED, S.COMPLETED, broken, error=LOST, call=call)
    saga = replace(saga, steps=(*saga.steps, Step(9, "e", 4)))
    after = settled(saga)
    assert after.status is G.COMPENSATING
    assert statuses(after) == [S.COMPLETED, S.SKIPPED, S.COMPLETED, broken, S.SKIPPED]
    assert [undo.id for undo in after.undos] == (["d", "c", "a"] if call is C.OPEN else ["c", "a"])
    assert [undo.order for undo in after.undos] == list(range(5, 5 + len(after.undos)))
    assert {undo.status for undo in after.undos} == {S.PENDING}
    assert after.error == LOST


def test_nothing_to_undo_is_failed() -> None:
    after = settled(a_saga(S.COMPLETED, S.FAILED, error=LOST), undoable="")
    assert (after.status, after.undos, after.ended_at) == (G.FAILED, (), T0)


def test_an_undo_changes_what_it_undoes() -> None:
    saga = undoing(S.PENDING, S.PENDING)
    begun = change_step(saga, saga.undos[0], steps.Begin({}, b"d"), T0)
    assert statuses(begun) == [S.COMPLETED, S.COMPENSATING, S.FAILED]
    done = change_step(begun, begun.undos[0], steps.Succeed(None), T0)
    assert statuses(done) == [S.COMPLETED, S.COMPENSATED, S.FAILED]
    assert settled(done).status is G.COMPENSATING


def test_an_undo_that_fails_stops_the_others() -> None:
    """And is what `retry-compensation` goes on from."""
    saga = undoing(S.PENDING, S.PENDING)
    begun = change_step(saga, saga.undos[0], steps.Begin({}, b"d"), T0)
    failed = settled(change_step(begun, begun.undos[0], steps.Fail(LOST), T0))
    assert (failed.status, failed.ended_at) == (G.FAILED, T0)
    assert [undo.status for undo in failed.undos] == [S.FAILED, S.PENDING]
    assert statuses(failed) == [S.COMPLETED, S.COMPENSATING, S.FAILED]
    resumed = resume_undoing(change_step(failed, failed.undos[0], steps.Requeue(), T0), T0)
    assert (resumed.status, resumed.ended_at) == (G.COMPENSATING, None)
    assert resumed.current == resumed.undos[0]
    again = change_step(resumed, resumed.undos[0], steps.Begin({}, b"d"), T0)
    assert statuses(again) == [S.COMPLETED, S.COMPENSATING, S.FAILED]


def test_compensated_is_never_said_of_what_nobody_knows() -> None:
    """The step that broke may have acted, and has no undo: the others are undone, and the saga is FAILED."""
    saga = settled(a_saga(S.COMPLETED, S.TIMED_OUT, call=C.OPEN), undoable="a")
    begun = change_step(saga, saga.undos[0], steps.Begin({}, b"d"), T0)
    done = change_step(begun, begun.undos[0], steps.Succeed(None), T0)
    assert settled(done).status is G.FAILED


@pytest.mark.parametrize(
    ("saga", "expected", "step_statuses"),
    [
        (a_saga(S.PENDING, S.PENDING, status=G.PENDING), G.FAILED, [S.SKIPPED, S.SKIPPED]),
        (a_saga(S.COMPLETED, S.PENDING), G.COMPENSATING, [S.COMPLETED, S.SKIPPED]),
        (a_saga(S.COMPLETED), G.COMPENSATING, [S.COMPLETED]),
        (a_saga(S.COMPLETED, S.AWAITING_HUMAN), G.COMPENSATING, [S.COMPLETED, S.FAILED]),
        (a_saga(S.COMPLETED, S.IN_PROGRESS, call=C.OPEN), G.RUNNING, [S.COMPLETED, S.IN_PROGRESS]),
        (a_saga(S.COMPLETED, S.IN_PROGRESS, call=C.CLOSED), G.COMPENSATING, [S.COMPLETED, S.FAILED]),
        (a_saga(S.IN_PROGRESS, call=C.OPEN_BEFORE), G.COMPENSATING, [S.FAILED]),
        (a_saga(S.IN_PROGRESS, call=C.OPEN, error=LOST), G.COMPENSATING, [S.TIMED_OUT]),
        (a_saga(S.IN_PROGRESS, call=C.CLOSED, error=LOST), G.FAILED, [S.TIMED_OUT]),
        (a_saga(S.PENDING, call=C.OPEN_BEFORE), G.COMPENSATING, [S.FAILED]),
        (a_saga(S.IN_PROGRESS, call=C.REPEAT), G.COMPENSATING, [S.TIMED_OUT]),
    ],
    ids=[
        "not begun",
        "between",
        "after",
        "held",
        "calling",
        "postponed",
        "postponed in doubt",
        "unknown",
        "thought without tools",
        "to be asked again",
        "to be called again",
    ],
)
def test_cancelled(saga: Saga, expected: SagaStatus, step_statuses: list[StepStatus]) -> None:
    """A call that is under way is waited for; nothing else is, and what was done is undone."""
    after = settled(replace(saga, cancelled="not needed"))
    assert (after.status, statuses(after)) == (expected, step_statuses)
    if expected is not G.RUNNING:
        assert after.error == Error("CANCELLED", "not needed")


def test_who_needs_an_operator() -> None:
    lost = {"error": LOST, "call": C.OPEN}
    assert a_saga(S.IN_PROGRESS, **lost).needs_operator
    assert undoing(S.COMPLETED, S.IN_PROGRESS, **lost).needs_operator
    assert not a_saga(S.IN_PROGRESS).needs_operator
    assert not a_saga(S.COMPLETED).needs_operator


def test_the_context_has_every_step_from_the_start() -> None:
    """Empty until it is done; undoing it takes nothing away."""
    saga = replace(a_saga(S.COMPLETED, S.COMPENSATED, S.PENDING), input={"n": 1})
    saga = replace(saga, steps=tuple(replace(step, output={"of": step.id}) for step in saga.steps[:2]) + saga.steps[2:])
    saga = replace(saga, steps=tuple(replace(step, facts={"id": step.order}) for step in saga.steps))
    assert [entry["facts"] for entry in context(saga)["steps"].values()] == [{"id": 0}, {"id": 1}, {}]
    outputs = {id_: entry["output"]["data"] for id_, entry in context(saga)["steps"].items()}
    assert context(saga)["input"] == {"n": 1}
    assert outputs == {"a": {"of": "a"}, "b": {"of": "b"}, "c": None}


def test_a_saga_that_no_worker_can_continue_needs_an_operator() -> None:
    saga = a_saga(S.PENDING)
    assert not saga.needs_operator
    assert replace(saga, stuck=Error("DEFINITION_GONE", "gone")).needs_operator


def test_an_undo_that_an_operator_gives_up_leaves_the_saga_failed() -> None:
    saga = settled(undoing(S.COMPLETED, S.FAILED))
    assert (saga.status, saga.needs_operator) == (G.FAILED, True)
    given_up = seen_to(saga, replace(saga.undos[1], evidence="Anne: gone"), T0, done=False, output=None)
    assert (given_up.status, given_up.needs_operator) == (G.FAILED, False)
    assert [undo.evidence for undo in given_up.undos] == [None, "Anne: gone"]


def test_an_undo_that_an_operator_did_by_hand_lets_the_compensation_continue() -> None:
    saga = settled(undoing(S.FAILED, S.PENDING))
    undo = replace(saga.undos[0], evidence="Anne: refunded")
    continued = seen_to(saga, undo, T0, done=True, output={"id": 7})
    assert (continued.status, continued.needs_operator) == (G.COMPENSATING, False)
    assert [(undo.status, undo.evidence) for undo in continued.undos] == [
        (S.COMPLETED, "Anne: refunded"),
        (S.PENDING, None),
    ]
    assert continued.undos[0].output == {"id": 7}
