"""A saga's way through its steps on a real database: gates, calls, failures, undo, workers that die."""

import pytest

from domain.sagas.outcome import CALLS_AGAIN, Done, Failed, Lost, NotSent, Outcome, TimedOut
from domain.sagas.step import OUTCOME_UNKNOWN, Error
from domain.values.errors import WrongState
from services.kernel.leases import DECISION, SAGA
from services.kernel.unit_of_work import Database, WakeUp
from services.sagas.engine import sweep_sagas
from services.sagas.lifecycle import cancel_saga
from services.sagas.work import ToolLookup
from tests.conftest import Recorded
from tests.services.saga_turns import advance, record, record_look_up
from tests.services.saga_world import (
    EVENTS,
    Tools,
    approve_held,
    claimed,
    die,
    error_of,
    is_due,
    pending_pauses,
    reject_held,
    saga_of,
    start,
    statuses,
    step,
    step_of,
    tools,
    undo_of,
    wait,
    work,
)
from tests.services.world import OPERATOR, an_endpoint, at_once, change, deliveries, one

REFUSED = Failed(Error("TOOL_INVOKE_FAILED", "no"))
ACTED = Failed(Error("TOOL_OUTPUT_ERROR", "not JSON"), acted=True)
AWAY = NotSent(Error("MCP_UNAVAILABLE", "connection refused"))
TOO_LONG = TimedOut(Error("STEP_TIMED_OUT", "60 s"))
BROKE_OFF = Lost("the connection broke off", False)


def told(database: Database) -> list[str]:
    return [delivery["type"] for delivery in deliveries(database)]


def test_straight_through(database: Database) -> None:
    """The steps run in order, each with its own key. A step may use earlier output, and one event reports the end."""
    an_endpoint(database, event_types=EVENTS)
    of_a = {"with": {"id": {"from": "$.steps.a.output.data.of"}}}
    trace_id = start(database, step("a"), step("b", **of_a))
    used = tools()
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED", "COMPLETED")
    assert [(call.tool, call.arguments) for call in used.calls] == [("do_a", {"n": 1}), ("do_b", {"id": "do_a"})]
    spans = [f"{each.span_id:016x}" for each in saga_of(database, trace_id).steps]
    assert [call.idempotency_key for call in used.calls] == [f"fwd-{trace_id.hex}-{span}" for span in spans]
    assert step_of(database, trace_id, "b").output == {"of": "do_b"}
    assert told(database) == ["saga.completed"]
    assert not is_due(database, trace_id)


def test_a_null_is_an_output_like_any_other(database: Database) -> None:
    """A column gives back the value that was put in."""
    trace_id = start(database, step("a", **{"with": {"n": {"from": "$.input.none"}, "e": {"value": None}}}))
    used = tools()
    work(database, trace_id, used)
    assert used.calls[0].arguments == {"n": None, "e": None}
    assert step_of(database, trace_id, "a").arguments == {"n": None, "e": None}


def test_a_when_that_says_no(database: Database) -> None:
    """Skipped, also as the first and the last; a binding to it gives null."""
    off = {"when": {"cel": "input.n > 1"}}
    trace_id = start(database, step("a", **off), step("b", **{"with": {"x": {"from": "$.steps.a.output.data"}}}))
    used = tools()
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPLETED", "SKIPPED", "COMPLETED")
    assert [call.arguments for call in used.calls] == [{"x": None}]
    nothing = start(database, step("a", **off))
    work(database, nothing, used)
    assert statuses(database, nothing) == ("COMPLETED", "SKIPPED")


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ({"when": {"cel": "input.missing > 1"}}, "WHEN_EVALUATION_FAILED"),
        ({"policy": {"name": "p", "cel": "arguments.n > 1"}}, "POLICY_COMMIT_DENIED"),
        ({"policy": {"name": "p", "cel": "arguments.missing > 1"}}, "POLICY_EVALUATION_FAILED"),
    ],
)
@pytest.mark.parametrize("hitl", [False, True])
def test_a_gate_that_is_shut(database: Database, gate: dict[str, object], code: str, hitl: bool) -> None:
    """Nothing is called and no reviewer is asked: a denied step is never held for a person to wave it through."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", undo=True), step("b", hitl=True if hitl else None, **gate), step("c"))
    used = tools()
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED")
    assert error_of(database, trace_id, "b") == code
    assert used.names == ["do_a", "undo_a"]
    assert one(database, "SELECT count(*) FROM pauses") == 0
    assert told(database) == ["step.failed", "saga.compensated"]


def test_a_clean_failure_undoes_the_others(database: Database) -> None:
    """The last first, each told what it undoes; the step that failed did nothing."""
    trace_id = start(database, step("a", undo=True), step("b"), step("c", undo=True), step("d", undo=True), step("e"))
    used = tools(do_d=REFUSED)
    work(database, trace_id, used)
    assert used.names == ["do_a", "do_b", "do_c", "do_d", "undo_c", "undo_a"]
    expected = ("COMPENSATED", "COMPENSATED", "COMPLETED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED", "COMPLETED")
    assert statuses(database, trace_id) == expected
    undo, forward = undo_of(database, trace_id, "c"), step_of(database, trace_id, "c")
    call = used.calls[-2]
    assert call.idempotency_key == f"comp-{trace_id.hex}-{undo.span_id:016x}"
    assert call.arguments == {
        "done": {"of": "do_c"},
        "facts": {
            "blind_cleanup": False,
            "dirty_failure": False,
            "has_forward_output": True,
            "idempotency_key": call.idempotency_key,
            "undo_span_id": f"{undo.span_id:016x}",
            "forward_span_id": f"{forward.span_id:016x}",
        },
    }
    assert saga_of(database, trace_id).error == REFUSED.error


@pytest.mark.parametrize(("outcome", "blind"), [(TOO_LONG, True), (ACTED, False)])
def test_what_may_have_acted_is_undone_too(database: Database, outcome: Outcome, blind: bool) -> None:
    """An event reports its failure, although its undo begins at once."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", undo=True), step("b", undo=True))
    call = claimed(database, trace_id)
    second = record(database, call, tools().make(call), {}, 0.5)
    assert second is not None
    undo = record(database, second, outcome, {}, 0.5)
    assert undo is not None
    assert undo.tool == "undo_b"
    facts = undo.arguments["facts"]
    assert (facts["dirty_failure"], facts["blind_cleanup"]) == (True, blind)
    assert undo.arguments["done"] is None
    assert told(database) == ["step.failed"]
    used = tools()
    last = record(database, undo, used.make(undo), {}, 0.5)
    assert last is not None
    assert record(database, last, used.make(last), {}, 0.5) is None
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPENSATED", "COMPLETED", "COMPLETED")
    assert told(database) == ["step.failed", "saga.compensated"]


def test_without_an_undo_an_unknown_effect_is_not_compensated(database: Database) -> None:
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=TOO_LONG))
    assert statuses(database, trace_id) == ("FAILED", "COMPENSATED", "TIMED_OUT", "COMPLETED")


def test_nothing_to_undo(database: Database) -> None:
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a"), step("b"))
    work(database, trace_id, tools(do_b=REFUSED))
    assert statuses(database, trace_id) == ("FAILED", "COMPLETED", "FAILED")
    assert told(database) == ["step.failed", "saga.failed"]


def test_an_undo_that_fails_is_a_hard_stop(database: Database) -> None:
    """The saga needs an operator; the steps before it are not undone."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", undo=True), step("b", undo=True), step("c"))
    used = tools(do_c=REFUSED, undo_b=REFUSED)
    work(database, trace_id, used)
    assert used.names[-1] == "undo_b"
    assert statuses(database, trace_id) == ("FAILED", "COMPLETED", "COMPENSATING", "FAILED", "FAILED", "PENDING")
    assert told(database) == ["step.failed", "step.failed", "saga.needs_operator", "saga.failed"]
    assert saga_of(database, trace_id).needs_operator


def test_an_undo_that_nobody_knows_of_waits_for_an_operator(database: Database) -> None:
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=REFUSED, undo_a=BROKE_OFF))
    assert statuses(database, trace_id) == ("COMPENSATING", "COMPENSATING", "FAILED", "IN_PROGRESS")
    assert saga_of(database, trace_id).needs_operator
    assert told(database) == ["step.failed", "saga.needs_operator"]


def test_a_tool_server_that_is_away_for_a_while(database: Database) -> None:
    """The step waits, and occupies no worker in the meantime; the idempotency key stays."""
    trace_id = start(database, step("a"))
    used = tools(do_a=[AWAY, AWAY])
    work(database, trace_id, used)
    assert advance(database, trace_id) is None, "it is not due yet"
    wait(database, trace_id)
    work(database, trace_id, used)
    wait(database, trace_id)
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")
    assert step_of(database, trace_id, "a").attempt == 3
    assert len({call.idempotency_key for call in used.calls}) == 1


def test_a_tool_server_that_stays_away(database: Database) -> None:
    """In the end it is a clean failure: certainly nothing was sent."""
    trace_id = start(database, step("a", undo=True), step("b", undo=True))
    used = tools(do_b=[AWAY] * 9)
    work(database, trace_id, used)
    assert error_of(database, trace_id, "b") == "MCP_UNAVAILABLE", "the reason is seen while it is tried again"
    while is_due(database, trace_id):
        wait(database, trace_id)
        work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")
    assert used.names.count("do_b") == 5
    assert error_of(database, trace_id, "b") == "MCP_UNAVAILABLE"


@pytest.mark.parametrize(
    ("idempotent", "wakeup", "repeated"),
    [(True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_a_worker_that_dies_during_a_call(
    database: Database, publisher: Recorded, idempotent: bool | None, wakeup: bool, repeated: bool
) -> None:
    """Asked again with the same key, if the manifest or else the tool says that this is safe; otherwise a person is."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", **({} if idempotent is None else {"idempotent": idempotent})))
    used = tools(*(["do_a"] if wakeup else []))
    first = claimed(database, trace_id)
    assert advance(database, trace_id) is None, "a worker is at it"
    die(database, trace_id)
    change(database, "UPDATE sagas SET hint_at = now() WHERE id = :id", id=trace_id)
    assert sweep_sagas(database) == 1
    assert WakeUp(SAGA, trace_id) in publisher.wakeups
    work(database, trace_id, used)
    if repeated:
        assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")
        assert [call.idempotency_key for call in used.calls] == [first.idempotency_key]
        assert told(database) == ["saga.completed"]
    else:
        assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
        assert error_of(database, trace_id, "a") == OUTCOME_UNKNOWN
        assert (used.calls, is_due(database, trace_id)) == ([], False)
        assert told(database) == ["saga.needs_operator"]


def test_a_call_that_kills_every_worker(database: Database) -> None:
    """The call is not repeated without end, however idempotent it is."""
    trace_id = start(database, step("a", idempotent=True))
    for _ in range(CALLS_AGAIN):
        claimed(database, trace_id)
        die(database, trace_id)
    assert advance(database, trace_id) is None
    assert error_of(database, trace_id, "a") == OUTCOME_UNKNOWN


def test_an_answer_that_got_lost(database: Database) -> None:
    """An idempotent tool is called again; if that fails too, the first call may still have acted."""
    trace_id = start(database, step("a", undo=True, idempotent=True))
    used = tools(do_a=[Lost("broke off", True), REFUSED])
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
    wait(database, trace_id)
    work(database, trace_id, used)
    assert used.names == ["do_a", "do_a", "undo_a"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPLETED")


def test_a_server_that_is_still_away_when_an_idempotent_call_is_repeated(database: Database) -> None:
    """Waited for like at the first time; and the doubt about the first call is not forgotten meanwhile."""
    trace_id = start(database, step("a", undo=True, idempotent=True))
    used = tools(do_a=[Lost("broke off", True), AWAY, REFUSED])
    work(database, trace_id, used)
    waiting = step_of(database, trace_id, "a")
    assert waiting.error == Error("MCP_UNAVAILABLE", "broke off")
    assert not waiting.outcome_unknown
    wait(database, trace_id)
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
    assert step_of(database, trace_id, "a").call.may_have_acted, "of the first call nobody knows"
    wait(database, trace_id)
    work(database, trace_id, used)
    assert used.names == ["do_a", "do_a", "do_a", "undo_a"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPLETED")


def test_a_server_that_stays_away_after_a_lost_answer(database: Database) -> None:
    """The repeat was certainly not sent; the first outcome is unknown. A person has to look, and it is no failure."""
    trace_id = start(database, step("a", idempotent=True))
    used = tools(do_a=[Lost("broke off", True), *[AWAY] * 9])
    work(database, trace_id, used)
    while is_due(database, trace_id):
        wait(database, trace_id)
        work(database, trace_id, used)
    assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
    assert saga_of(database, trace_id).needs_operator


def test_a_late_result_is_dropped(database: Database) -> None:
    """Another worker has the saga now: what the first one has to say changes nothing."""
    trace_id = start(database, step("a", idempotent=True))
    late = claimed(database, trace_id)
    die(database, trace_id)
    second = claimed(database, trace_id)
    assert record(database, late, REFUSED, {}, 0.5) is None
    assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
    record(database, second, tools().make(second), {}, 0.5)
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")
    assert record(database, second, REFUSED, {}, 0.5) is None
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")


def test_many_wake_ups_at_once(database: Database) -> None:
    """One worker gets it."""
    trace_id = start(database, step("a"))
    calls = at_once([lambda: advance(database, trace_id)] * 8)
    assert sum(call is not None for call in calls) == 1
    assert step_of(database, trace_id, "a").attempt == 1


def test_arguments_changed_in_the_database(database: Database) -> None:
    """They change between the pause and the call: nothing is called."""
    trace_id = start(database, step("a", hitl=True))
    used = tools()
    work(database, trace_id, used)
    approve_held(database, trace_id)
    change(database, """UPDATE pauses SET arguments = '{"n": 1000}'""")
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("FAILED", "FAILED")
    assert error_of(database, trace_id, "a") == "ARGUMENTS_CHANGED"
    assert used.calls == []


def test_arguments_changed_before_a_repeat(database: Database) -> None:
    """Nothing is called; the outcome of the first call is unknown."""
    trace_id = start(database, step("a", idempotent=True), step("b"))
    claimed(database, trace_id)
    change(database, """UPDATE saga_steps SET arguments = '{"n": 1000}' WHERE step_id = 'a'""")
    die(database, trace_id)
    assert advance(database, trace_id) is None
    assert error_of(database, trace_id, "a") == OUTCOME_UNKNOWN


def test_cancelled_before_it_began(database: Database) -> None:
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a"), step("b"))
    assert cancel_saga(database, OPERATOR, trace_id, "not needed") == "PENDING"
    used = tools()
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("FAILED", "SKIPPED", "SKIPPED")
    assert saga_of(database, trace_id).error == Error("CANCELLED", "not needed")
    assert (used.calls, told(database)) == ([], ["saga.failed"])


def test_cancelled_during_a_call(database: Database) -> None:
    """The call is waited for, and undone with the others; nothing new begins."""
    trace_id = start(database, step("a", undo=True), step("b", undo=True), step("c", hitl=True))
    first = claimed(database, trace_id)
    used = tools()
    second = record(database, first, used.make(first), {}, 0.5)
    assert second is not None
    assert cancel_saga(database, OPERATOR, trace_id, None) == "RUNNING"
    assert advance(database, trace_id) is None
    undo = record(database, second, used.make(second), {}, 0.5)
    while undo is not None:
        undo = record(database, undo, used.make(undo), {}, 0.5)
    assert used.names == ["do_a", "do_b", "undo_b", "undo_a"]
    assert statuses(database, trace_id)[0] == "COMPENSATED"
    assert one(database, "SELECT count(*) FROM pauses") == 0


def test_cancelled_while_it_waits_for_a_tool_server(database: Database) -> None:
    """It was not sent, and now it never is."""
    trace_id = start(database, step("a"))
    used = tools(do_a=AWAY)
    work(database, trace_id, used)
    cancel_saga(database, OPERATOR, trace_id, None)
    work(database, trace_id, used)
    assert used.names == ["do_a"]
    assert statuses(database, trace_id) == ("FAILED", "FAILED")
    assert error_of(database, trace_id, "a") == "CANCELLED"


def test_cancelled_while_nobody_knows(database: Database) -> None:
    """Undone, as it may have been done."""
    trace_id = start(database, step("a", undo=True))
    used = tools(do_a=BROKE_OFF)
    work(database, trace_id, used)
    cancel_saga(database, OPERATOR, trace_id, None)
    work(database, trace_id, used)
    assert used.names == ["do_a", "undo_a"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPLETED")


def test_cancelled_while_it_is_held(database: Database, publisher: Recorded) -> None:
    """The cancel takes the review back too: no reviewer is asked about a step that never runs."""
    trace_id = start(database, step("a", undo=True), step("b", hitl=True))
    used = tools()
    work(database, trace_id, used)
    assert cancel_saga(database, OPERATOR, trace_id, None) == "AWAITING_HUMAN"
    assert pending_pauses(database) == 0
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")
    assert WakeUp(DECISION, trace_id) in publisher.wakeups


@pytest.mark.parametrize("outcome", [None, REFUSED, "undoing"])
def test_what_has_ended_is_not_cancelled(database: Database, outcome: Outcome | str | None) -> None:
    trace_id = start(database, step("a", undo=True), step("b"))
    script = {"do_b": REFUSED, "undo_a": BROKE_OFF} if outcome == "undoing" else {"do_a": outcome} if outcome else {}
    work(database, trace_id, tools(**script))  # type: ignore[arg-type]
    before = saga_of(database, trace_id)
    with pytest.raises(WrongState) as refused:
        cancel_saga(database, OPERATOR, trace_id, None)
    assert refused.value.code == f"SAGA_{before.status}"
    assert saga_of(database, trace_id) == before


def test_held_in_the_moment_of_the_cancel(database: Database) -> None:
    """In either order, no review is left in the end that decides nothing."""
    for _ in range(10):
        trace_id = start(database, step("a", hitl=True))
        at_once(
            [
                lambda id_=trace_id: work(database, id_, tools()),
                lambda id_=trace_id: cancel_saga(database, OPERATOR, id_, None),
            ]
        )
        work(database, trace_id, tools())
        assert statuses(database, trace_id)[0] == "FAILED"
    assert pending_pauses(database) == 0


def test_rejected_and_nothing_runs(database: Database) -> None:
    trace_id = start(database, step("a", undo=True), step("b", hitl=True))
    used = Tools()
    work(database, trace_id, used)
    reject_held(database, trace_id, comment="too much")
    work(database, trace_id, used)
    assert used.names == ["do_a", "undo_a"]
    assert step_of(database, trace_id, "b").error == Error("HUMAN_REJECTED", "too much")


def test_a_lost_confirmation_before_a_held_step(database: Database) -> None:
    """The result was recorded, and the worker records it once more: the next call is held, and not made before."""
    trace_id = start(database, step("a"), step("b", hitl=True))
    call, used = claimed(database, trace_id), Tools()
    assert isinstance(record(database, call, Done({}), {}, 0.5), ToolLookup)
    again = record(database, call, Done({}), {}, 0.5)
    assert isinstance(again, ToolLookup)
    assert record_look_up(database, again, used.look_up(again), 0.5) is None
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "COMPLETED", "AWAITING_HUMAN")
