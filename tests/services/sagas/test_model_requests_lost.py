"""Reason steps that come to nothing: what is undone then, workers that die, operators, cancels, and late answers."""

import pytest

from domain.sagas.outcome import CALLS_AGAIN, Failed, Lost, NotSent, Outcome, TimedOut
from domain.sagas.step import OUTCOME_UNKNOWN, Error
from domain.values.errors import WrongState
from services.kernel.unit_of_work import Database
from services.reviews.step_decisions import rerun_step
from services.sagas import execution
from services.sagas.engine import given_up, sweep_sagas
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import MayRunTwice, Retry, resolve, retry_step
from services.sagas.work import Capacity
from tests.services.model_world import answer, asked, go_on, model, reason, result
from tests.services.saga_turns import advance, record
from tests.services.saga_world import (
    EVENTS,
    approve_held,
    current_ref,
    die,
    error_of,
    is_due,
    saga_of,
    start,
    statuses,
    step,
    step_of,
    tools,
    undo_of,
    wait,
)
from tests.services.world import (
    OPERATOR,
    REVIEWER,
    an_endpoint,
    at_once,
    change,
    deliveries,
    one,
)

ERROR = Error("OUTPUT_SCHEMA_VALIDATION_FAILED", "output.n is missing")
AWAY = NotSent(Error("MCP_UNAVAILABLE", "connection refused"))
SLOW = Error("STEP_TIMED_OUT", "60 s")
STOPPED = Failed(Error("CANCELLED", "stopped"), acted=True)
LOST = Lost("the tool's server broke off", False)
TOOLS = {"tools": {"allow": ["look", "book"]}}


def undone(database: Database, outcome: Outcome, *, undo: bool, **report: bool) -> tuple[str, list[str]]:
    """Run a, and b with this model result; return the saga's status and the undos that were called."""
    trace_id = start(database, step("a", undo=True), reason("b", undo=undo, **TOOLS))
    used = go_on(database, trace_id, model(b=result(outcome, **report)))
    return statuses(database, trace_id)[0], used.names[1:]


@pytest.mark.parametrize("outcome", [Failed(ERROR), TimedOut(SLOW, acted=False)], ids=["failed", "slow"])
@pytest.mark.parametrize("undo", [False, True])
def test_a_model_that_changed_nothing(database: Database, outcome: Outcome, undo: bool) -> None:
    """A clean failure: only what was done before is undone."""
    assert undone(database, outcome, undo=undo) == ("COMPENSATED", ["undo_a"])


@pytest.mark.parametrize("outcome", [Failed(ERROR, acted=True), TimedOut(SLOW)], ids=["failed", "slow"])
def test_a_model_whose_tools_may_have_acted(database: Database, outcome: Outcome) -> None:
    """It is undone too; where it cannot be, that is not compensated."""
    assert undone(database, outcome, undo=True, acted=True) == ("COMPENSATED", ["undo_b", "undo_a"])
    assert undone(database, outcome, undo=False, acted=True) == ("FAILED", ["undo_a"])


def test_tools_that_acted_before_a_policy_said_no(database: Database) -> None:
    """The denial of its answer does not undo the earlier effects of the model's tools."""
    denied = {"policy": {"name": "p", "cel": "output.n > 10"}}
    for acted, called in ((True, ["undo_b"]), (False, [])):
        trace_id = start(database, reason("b", undo=True, **TOOLS, **denied))
        used = go_on(database, trace_id, model(b=result(1, acted=acted)))
        assert used.names == called
        assert error_of(database, trace_id, "b") == "POLICY_REASON_DENIED"
        if acted:
            assert undo_of(database, trace_id, "b").arguments == used.calls[0].arguments
            assert used.calls[0].arguments["done"] is None


def test_tools_that_acted_before_a_reviewer_said_no(database: Database) -> None:
    """The undo runs even where the rejected answer is another one, which called nothing."""
    trace_id = start(database, reason("b", undo=True, hitl=True, **TOOLS))
    go_on(database, trace_id, model(b=result(1, acted=True)))
    rerun_step(database, REVIEWER, current_ref(database, trace_id), "again", None)
    go_on(database, trace_id, model(b=2))
    cancel_saga(database, OPERATOR, trace_id, "enough")
    assert go_on(database, trace_id, model()).names == ["undo_b"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "COMPLETED")


def test_the_acts_of_a_model_are_kept_while_its_request_is_repeated(database: Database) -> None:
    """Cancelled before a worker came to it: that is not skipped."""
    for acted, expected in ((True, ("COMPENSATED", "COMPENSATED", "COMPLETED")), (False, ("FAILED", "SKIPPED"))):
        trace_id = start(database, reason("b", undo=True, hitl=True, **TOOLS))
        go_on(database, trace_id, model(b=result(1, acted=acted)))
        rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
        cancel_saga(database, OPERATOR, trace_id, "enough")
        go_on(database, trace_id, model())
        assert statuses(database, trace_id) == expected


def test_a_tool_whose_answer_was_lost(database: Database) -> None:
    """A person has to look: the model is asked again only with the word that it may act twice."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a", undo=True), reason("b", **TOOLS))
    go_on(database, trace_id, model(b=LOST))
    assert error_of(database, trace_id, "b") == OUTCOME_UNKNOWN
    assert [each["type"] for each in deliveries(database)] == ["saga.needs_operator"]
    which = current_ref(database, trace_id)
    with pytest.raises(WrongState, match="is a reason step"):
        resolve(database, OPERATOR, which, done=True, output={"n": 1}, evidence="x")
    with pytest.raises(MayRunTwice):
        retry_step(database, OPERATOR, which, Retry())
    retry_step(database, OPERATOR, which, Retry(allow_destructive=True))
    models = model(b=Failed(ERROR))
    go_on(database, trace_id, models)
    assert not models.asked[0].again, "the operator wants it asked, whatever it did before"
    assert statuses(database, trace_id)[0] == "FAILED", "what the lost call did is not undone"


def test_a_tool_server_that_is_away(database: Database) -> None:
    """The step waits and occupies no worker; in the end it fails cleanly."""
    trace_id = start(database, step("a", undo=True), reason("b", undo=True, **TOOLS))
    models = model(b=[AWAY] * 9)
    go_on(database, trace_id, models)
    assert advance(database, trace_id) is None, "it is not due yet"
    while is_due(database, trace_id):
        wait(database, trace_id)
        go_on(database, trace_id, models)
    assert (len(models.asked), error_of(database, trace_id, "b")) == (5, "MCP_UNAVAILABLE")
    assert statuses(database, trace_id)[0] == "COMPENSATED"
    assert not any(ask.again for ask in models.asked)


def test_re_runs_do_not_use_up_its_patience(database: Database) -> None:
    """However often a reviewer had it run again: a server that is away is waited for, a dead worker is replaced."""
    trace_id = start(database, reason("a", hitl=True, **TOOLS))
    for _ in range(CALLS_AGAIN + 1):
        go_on(database, trace_id, model())
        rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    go_on(database, trace_id, model(a=AWAY))
    assert statuses(database, trace_id) == ("RUNNING", "IN_PROGRESS")
    wait(database, trace_id)
    asked(database, trace_id)
    die(database, trace_id)
    go_on(database, trace_id, model())
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")


@pytest.mark.parametrize("with_tools", [False, True])
def test_a_worker_that_died_during_a_model_request(database: Database, with_tools: bool) -> None:
    """The model is asked again, and with tools the request says so. If that fails, the doubt about the first time
    remains only with tools, and only where a tool may change something."""
    for harmless in (False, True):
        trace_id = start(database, step("a", undo=True), reason("b", **(TOOLS if with_tools else {})))
        asked(database, trace_id)
        die(database, trace_id)
        change(database, "UPDATE sagas SET hint_at = now() WHERE due_at IS NOT NULL")
        assert sweep_sagas(database) == 1
        models = model(b=result(Failed(ERROR), harmless=harmless))
        go_on(database, trace_id, models)
        assert models.asked[0].again is with_tools
        assert statuses(database, trace_id)[0] == ("FAILED" if with_tools and not harmless else "COMPENSATED")


@pytest.mark.parametrize("with_tools", [False, True])
def test_a_question_that_kills_every_worker(database: Database, with_tools: bool) -> None:
    """The question is not asked without end; an operator may have it asked once more, and cancel it."""
    trace_id = start(database, step("a", undo=True), reason("b", **(TOOLS if with_tools else {})))
    asked(database, trace_id)
    for _ in range(CALLS_AGAIN - 1):
        die(database, trace_id)
        assert asked(database, trace_id).again is with_tools
    die(database, trace_id)
    assert advance(database, trace_id) is None
    assert error_of(database, trace_id, "b") == OUTCOME_UNKNOWN
    which = current_ref(database, trace_id)
    if with_tools:
        with pytest.raises(MayRunTwice):
            retry_step(database, OPERATOR, which, Retry())
    else:
        assert retry_step(database, OPERATOR, which, Retry())["status"] == "requeued"
        asked(database, trace_id)
        die(database, trace_id)
        assert advance(database, trace_id) is None
    cancel_saga(database, OPERATOR, trace_id, None)
    go_on(database, trace_id, model())
    assert statuses(database, trace_id)[0] == ("FAILED" if with_tools else "COMPENSATED")


def test_a_late_answer_is_dropped(database: Database) -> None:
    """Another worker has the saga now."""
    trace_id = start(database, reason("a", keep_transcript=True))
    late = asked(database, trace_id)
    die(database, trace_id)
    second = asked(database, trace_id)
    assert given_up(database, [late.lease, second.lease]) == {late.lease.token}
    before = saga_of(database, trace_id)
    answer(database, late, result(5, transcript=("late",)))
    assert saga_of(database, trace_id) == before
    assert one(database, "SELECT count(*) FROM saga_transcripts") == 0
    assert given_up(database, [second.lease]) == set()
    answer(database, second, result(6))
    assert step_of(database, trace_id, "a").output == {"n": 6}


def test_an_answer_recorded_twice_at_once(database: Database) -> None:
    """As after a commit whose answer was lost: it counts once, and is held once."""
    trace_id = start(database, reason("a", hitl=True), step("b"))
    ask = asked(database, trace_id)
    assert at_once([lambda: answer(database, ask, result(1))] * 4) == [None] * 4
    assert one(database, "SELECT count(*) FROM pauses") == 1
    approve_held(database, trace_id)
    answer(database, ask, result(2))
    assert go_on(database, trace_id, model()).names == ["do_b"]
    assert step_of(database, trace_id, "a").output == {"n": 1}


def test_two_workers(database: Database) -> None:
    """At once, and one after the other: the model is asked once."""
    trace_id = start(database, reason("a"))
    asks = at_once([lambda: advance(database, trace_id)] * 8)
    assert sum(ask is not None for ask in asks) == 1
    assert advance(database, trace_id) is None, "a worker is at it"
    assert step_of(database, trace_id, "a").attempt == 1


def test_a_worker_without_room(database: Database) -> None:
    """It leaves the step as it is, for one that has; at once after a call too; and a cancel does not wait for one."""
    full = Capacity(for_thought=lambda namespace: namespace != "default")
    trace_id = start(database, step("a", undo=True), reason("b"))
    call = advance(database, trace_id, full)
    assert call is not None
    used = tools()
    assert record(database, call, used.make(call), {}, 0.5, full) is None  # type: ignore[arg-type]
    before = step_of(database, trace_id, "b")
    assert (before.status, before.attempt) == ("PENDING", 0)
    woken_in = "SELECT extract(epoch FROM hint_at - now()) FROM sagas"
    assert 0 < float(one(database, woken_in)) <= execution._ROOM_AGAIN.total_seconds()
    assert one(database, "SELECT lease_token IS NULL AND due_at < now() FROM sagas")
    assert advance(database, trace_id, full) is None
    assert step_of(database, trace_id, "b") == before
    cancel_saga(database, OPERATOR, trace_id, None)
    assert go_on(database, trace_id, model()).names == ["undo_a"]
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "SKIPPED", "COMPLETED")
