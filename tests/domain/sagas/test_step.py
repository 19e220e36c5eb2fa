"""The machine of one step: every (state, command) pair by name, and what each command leaves behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args
from uuid import UUID

import pytest

from domain.sagas import step as steps
from domain.sagas.call_state import CallState
from domain.sagas.step import OUTCOME_UNKNOWN, Command, Error, Step, StepStatus, error_of, known_as, rejection
from domain.sagas.step_transitions import ENDED, TRANSITIONS, change
from domain.values.errors import WrongState

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = T0 + timedelta(minutes=1)
S, C = StepStatus, CallState
WATCH, OTHER_WATCH = UUID(int=7), UUID(int=8)
ERROR = Error("TOOL_INVOKE_FAILED", "no")
COMMANDS: dict[type, Command] = {
    steps.Skip: steps.Skip(),
    steps.Hold: steps.Hold(WATCH, {"n": 1}, b"d"),
    steps.HoldAnswer: steps.HoldAnswer(WATCH),
    steps.Begin: steps.Begin({"n": 1}, b"d"),
    steps.Repeat: steps.Repeat(),
    steps.Postpone: steps.Postpone(),
    steps.Defer: steps.Defer(ERROR),
    steps.Succeed: steps.Succeed({"ok": True}),
    steps.Fail: steps.Fail(ERROR),
    steps.Expire: steps.Expire(Error("STEP_TIMED_OUT", "too long")),
    steps.MarkOutcomeUnknown: steps.MarkOutcomeUnknown("lost"),
    steps.Rerun: steps.Rerun("be kind", "token", 3),
    steps.Requeue: steps.Requeue(),
    steps.BeginUndo: steps.BeginUndo(),
    steps.Compensated: steps.Compensated(),
}
# Written out a second time, on purpose: a row that is lost from the table, or slips in, is a change of the product.
EXPECTED = {
    (S.PENDING, steps.Skip): S.SKIPPED,
    (S.PENDING, steps.Defer): S.PENDING,
    (S.PENDING, steps.Hold): S.AWAITING_HUMAN,
    (S.PENDING, steps.Begin): S.IN_PROGRESS,
    (S.PENDING, steps.Succeed): S.COMPLETED,
    (S.PENDING, steps.Fail): S.FAILED,
    (S.AWAITING_HUMAN, steps.Begin): S.IN_PROGRESS,
    (S.AWAITING_HUMAN, steps.Succeed): S.COMPLETED,
    (S.AWAITING_HUMAN, steps.Fail): S.FAILED,
    (S.AWAITING_HUMAN, steps.Rerun): S.PENDING,
    (S.IN_PROGRESS, steps.Repeat): S.IN_PROGRESS,
    (S.IN_PROGRESS, steps.Postpone): S.IN_PROGRESS,
    (S.IN_PROGRESS, steps.MarkOutcomeUnknown): S.IN_PROGRESS,
    (S.IN_PROGRESS, steps.Requeue): S.IN_PROGRESS,
    (S.IN_PROGRESS, steps.HoldAnswer): S.AWAITING_HUMAN,
    (S.IN_PROGRESS, steps.Succeed): S.COMPLETED,
    (S.IN_PROGRESS, steps.Fail): S.FAILED,
    (S.IN_PROGRESS, steps.Expire): S.TIMED_OUT,
    (S.COMPLETED, steps.BeginUndo): S.COMPENSATING,
    (S.FAILED, steps.BeginUndo): S.COMPENSATING,
    (S.FAILED, steps.Requeue): S.PENDING,
    (S.TIMED_OUT, steps.BeginUndo): S.COMPENSATING,
    (S.TIMED_OUT, steps.Requeue): S.PENDING,
    (S.COMPENSATING, steps.Compensated): S.COMPENSATED,
}


def a_step(status: StepStatus = S.PENDING, **changes: Any) -> Step:
    return replace(Step(1, "pay", 0), status=status, **changes)


def running(**changes: Any) -> Step:
    return replace(change(a_step(), COMMANDS[steps.Begin], T0), **changes)


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == set(get_args(Command))


@pytest.mark.parametrize(("status", "kind"), list(product(StepStatus, COMMANDS)))
def test_every_pair(status: StepStatus, kind: type) -> None:
    """A pair outside the table is refused with the step's state; a pair in it leads where the table says."""
    before = a_step(status)
    if (status, kind) not in EXPECTED:
        assert (status, kind) not in TRANSITIONS
        with pytest.raises(WrongState) as refused:
            change(before, COMMANDS[kind], T0)
        assert refused.value.code == f"STEP_{status}"
        return
    after = change(before, COMMANDS[kind], T0)
    assert after.status is EXPECTED[status, kind] is TRANSITIONS[status, kind]
    assert after.ended_at == (T0 if after.status in ENDED else None)
    assert (after.span_id, after.id, after.order, after.compensates) == (1, "pay", 0, None)


def test_a_hold_keeps_what_is_to_be_approved() -> None:
    held = change(a_step(), COMMANDS[steps.Hold], T0)
    assert (held.watch_id, held.arguments, held.arguments_digest) == (WATCH, {"n": 1}, b"d")
    assert (held.started_at, held.attempt, held.call) == (T0, 0, C.CLOSED)


def test_it_runs_with_what_was_approved() -> None:
    """And not with what was held, if a reviewer changed it; it has started when it was held."""
    begun = change(change(a_step(), COMMANDS[steps.Hold], T0), steps.Begin({"n": 2}, b"e"), LATER)
    assert (begun.arguments, begun.arguments_digest, begun.started_at) == ({"n": 2}, b"e", T0)
    assert (begun.attempt, begun.call, begun.watch_id) == (1, C.OPEN, WATCH)


def test_what_a_rerun_leaves() -> None:
    """No pause holds it now, and the same wish is known again by its name."""
    again = change(change(a_step(), COMMANDS[steps.Hold], T0), COMMANDS[steps.Rerun], LATER)
    assert (again.watch_id, again.retries, again.guidance, again.retry_token) == (None, 1, "be kind", "token")
    assert again.revision == 4
    held = change(again, steps.Hold(OTHER_WATCH, {"n": 3}, b"f"), LATER)
    assert (held.watch_id, held.arguments) == (OTHER_WATCH, {"n": 3})


@pytest.mark.parametrize(
    ("acted", "asked", "left"),
    [(False, C.OPEN, C.CLOSED), (True, C.OPEN, C.OPEN), (False, C.OPEN_TWICE, C.OPEN_TWICE)],
)
def test_an_answer_that_waits_for_a_person(acted: bool, asked: CallState, left: CallState) -> None:
    """Neither a rejection nor a re-run forgets the possible effects of the model's tools."""
    held = change(running(call=asked, proposal={"n": 1}), steps.HoldAnswer(WATCH, acted), LATER)
    assert (held.watch_id, held.call, held.arguments) == (WATCH, left, {"n": 1})
    assert change(held, steps.Fail(ERROR), LATER).call is left
    again = change(held, COMMANDS[steps.Rerun], LATER)
    assert (again.call, again.proposal) == (C.CLOSED if left is C.CLOSED else C.OPEN_BEFORE, {"n": 1})
    merged = change(held, steps.Succeed({"n": 2}), LATER)
    assert (merged.output, merged.proposal, merged.call) == ({"n": 2}, None, C.CLOSED)


def test_what_can_change_nothing_is_never_in_doubt() -> None:
    """A model without tools, however often it is asked."""
    asked = change(a_step(), steps.Begin({"n": 1}, b"d", acts=False), T0)
    again = change(asked, steps.Repeat(acts=False), T0)
    lost = change(again, COMMANDS[steps.MarkOutcomeUnknown], T0)
    assert [step.call for step in (asked, again, lost)] == [C.CLOSED] * 3
    assert again.attempt == 2


def test_success_is_certain() -> None:
    done = change(running(call=C.OPEN_TWICE, error=Error(OUTCOME_UNKNOWN, "?")), steps.Succeed(None), LATER)
    assert (done.output, done.error, done.call, done.ended_at) == (None, None, C.CLOSED, LATER)


@pytest.mark.parametrize(
    ("before", "command", "may_have_acted"),
    [
        (running(), steps.Fail(ERROR), False),
        (running(), steps.Fail(ERROR, acted=True), True),
        (change(running(), steps.Repeat(), T0), steps.Fail(ERROR), True),
        (change(running(), steps.Repeat(), T0), steps.Fail(ERROR, certain=True), False),
        (change(change(running(), steps.Postpone(), T0), steps.Repeat(), T0), steps.Fail(ERROR), False),
        (change(running(), steps.Postpone(again=True), T0), steps.Expire(ERROR), True),
        (running(), steps.Expire(ERROR), True),
    ],
    ids=["failed", "acted", "an earlier call", "an operator looked", "never sent", "sent before", "timed out"],
)
def test_whether_a_failed_call_may_have_acted(before: Step, command: Command, may_have_acted: bool) -> None:
    """The state of its calls after the end is what the undo goes by."""
    ended = change(before, command, LATER)
    assert ended.call.may_have_acted is may_have_acted
    assert ended.error == command.error  # type: ignore[union-attr]


def test_an_outcome_that_an_operator_settled_stays_settled() -> None:
    """An undo that was settled as not done, and tried again, fails as cleanly as a first one."""
    settled = change(running(call=C.OPEN_TWICE, compensates=9), steps.Fail(ERROR, certain=True), T0)
    again = change(change(settled, steps.Requeue(), T0), COMMANDS[steps.Begin], T0)
    assert change(again, steps.Fail(ERROR), T0).call is C.CLOSED


def test_an_unknown_outcome_waits_for_an_operator() -> None:
    lost = change(running(), COMMANDS[steps.MarkOutcomeUnknown], LATER)
    assert lost.outcome_unknown
    assert lost.error == Error(OUTCOME_UNKNOWN, "lost")
    assert lost.call is C.OPEN
    assert not running().outcome_unknown
    assert not replace(lost, status=S.TIMED_OUT).outcome_unknown


def test_a_requeued_call_may_be_repeated_once() -> None:
    """The operator's word is for one call; and the first one is not forgotten."""
    wanted = change(change(running(), COMMANDS[steps.MarkOutcomeUnknown], T0), steps.Requeue(), T0)
    assert (wanted.error, wanted.call) == (None, C.REPEAT)
    again = change(wanted, steps.Repeat(), T0)
    assert (again.call, again.attempt) == (C.OPEN_TWICE, 2)


def test_an_undo_that_is_tried_again_remembers_its_doubts() -> None:
    """The earlier call may have been carried out: if the next one fails, that is still so."""
    timed_out = change(running(compensates=9), COMMANDS[steps.Expire], T0)
    waiting = change(timed_out, steps.Requeue(), T0)
    assert (waiting.status, waiting.call, waiting.error) == (S.PENDING, C.OPEN_BEFORE, None)
    assert change(change(waiting, COMMANDS[steps.Begin], T0), steps.Fail(ERROR), T0).call is C.OPEN_TWICE


def test_an_error_as_a_document() -> None:
    assert ERROR.document() == {"code": "TOOL_INVOKE_FAILED", "message": "no"}
    assert Error("X", "m", [1]).document() == {"code": "X", "message": "m", "details": [1]}


def test_the_error_of_a_newer_release_is_read_as_far_as_it_is_understood() -> None:
    document = {"code": "NO_FUNDS", "message": "no", "details": {"n": 1}, "retry_after": 5}
    assert error_of(document) == Error("NO_FUNDS", "no", {"n": 1}, {"retry_after": 5})
    assert error_of(document).document() == document
    assert error_of({}) == Error("UNKNOWN", "(not understood)")


@pytest.mark.parametrize(
    ("given", "comment", "document"),
    [
        (None, None, {"code": "HUMAN_REJECTED", "message": "rejected by Anne"}),
        (None, "too dear", {"code": "HUMAN_REJECTED", "message": "too dear"}),
        ("too late", "too dear", {"code": "HUMAN_REJECTED", "message": "too late"}),
        (" ", None, {"code": "HUMAN_REJECTED", "message": "rejected by Anne", "details": " "}),
        ({"code": "NO", "message": "no", "x": 1}, "y", {"code": "NO", "message": "no", "x": 1}),
        ({"reason": "why"}, None, {"code": "HUMAN_REJECTED", "message": "why", "reason": "why"}),
        (
            {"code": 5, "message": ""},
            None,
            {"code": "HUMAN_REJECTED", "message": "rejected by Anne", "details": {"code": 5, "message": ""}},
        ),
    ],
)
def test_the_error_of_a_rejected_step(given: object, comment: str | None, document: dict[str, Any]) -> None:
    """Everything that the reviewer gave is kept."""
    assert rejection(given, comment, "Anne").document() == document


@pytest.mark.parametrize(
    ("step", "statuses"),
    [
        (Step(1, "a", 0, status=S.COMPENSATING), {S.COMPENSATING, S.COMPLETED}),
        (Step(1, "a", 0, status=S.COMPENSATED, error=ERROR), {S.COMPENSATED}),
        (Step(1, "a", 0, status=S.FAILED), {S.FAILED}),
        (Step(2, "a", 0, compensates=1, status=S.PENDING), {S.PENDING, S.COMPENSATING}),
        (Step(2, "a", 0, compensates=1, status=S.COMPLETED), {S.COMPLETED, S.COMPENSATED}),
        (Step(2, "a", 0, compensates=1, status=S.FAILED), {S.FAILED}),
    ],
)
def test_a_step_is_found_by_the_status_of_other_systems_too(step: Step, statuses: set[StepStatus]) -> None:
    assert known_as(step) == statuses
