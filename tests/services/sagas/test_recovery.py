"""Recovery by an operator after an unknown outcome or a failed compensation, and its errors."""

from dataclasses import replace
from uuid import UUID

import pytest

from domain.log.audit import digest
from domain.sagas.outcome import Done, Failed, Lost, NotSent, TimedOut
from domain.sagas.step import OUTCOME_UNKNOWN, Error
from domain.values.errors import NotFound, WrongState
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log.audit import EventFilter, list_events
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import StepRef, get_step
from services.sagas.recovery import MayRunTwice, RecoveryTokenReused, Retry, resolve, retry_compensation, retry_step
from tests.services.saga_turns import advance, record
from tests.services.saga_world import (
    EVENTS,
    OF_WORKER,
    claimed,
    die,
    error_of,
    is_due,
    ref,
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
from tests.services.world import ADMIN, OPERATOR, Role, an_endpoint, at_once, change, deliveries, someone

REFUSED = Failed(Error("TOOL_INVOKE_FAILED", "no"))
BROKE_OFF = Lost("the connection broke off", False)
TOO_LONG = TimedOut(Error("STEP_TIMED_OUT", "60 s"))
AWAY = NotSent(Error("MCP_UNAVAILABLE", "connection refused"))
FORCED = Retry(allow_destructive=True)


def told(database: Database) -> list[str]:
    return [delivery["type"] for delivery in deliveries(database)]


def of_step(database: Database, trace_id: UUID, id_: str) -> StepRef:
    return ref(trace_id, step_of(database, trace_id, id_))


def of_undo(database: Database, trace_id: UUID, id_: str) -> StepRef:
    return ref(trace_id, undo_of(database, trace_id, id_))


@pytest.fixture
def unknown(database: Database) -> UUID:
    """A saga in which the response of b was lost."""
    trace_id = start(database, step("a", undo=True), step("b", undo=True), step("c"))
    work(database, trace_id, tools(do_b=BROKE_OFF))
    assert error_of(database, trace_id, "b") == OUTCOME_UNKNOWN
    return trace_id


@pytest.fixture
def stuck_undo(database: Database) -> UUID:
    """The undo of b failed; that of a waits behind it."""
    trace_id = start(database, step("a", undo=True), step("b", undo=True), step("c"))
    work(database, trace_id, tools(do_c=REFUSED, undo_b=REFUSED))
    return trace_id


def test_resolved_as_done(database: Database, unknown: UUID) -> None:
    """It goes on with the output that the operator found."""
    which = of_step(database, unknown, "b")
    resolve(database, OPERATOR, which, done=True, output={"id": 7}, evidence="seen in the ledger")
    used = tools()
    work(database, unknown, used)
    done = step_of(database, unknown, "b")
    assert used.names == ["do_c"]
    assert statuses(database, unknown)[:3] == ("COMPLETED", "COMPLETED", "COMPLETED")
    assert (done.output, done.evidence) == ({"id": 7}, "operator: seen in the ledger")
    with pytest.raises(WrongState) as refused:
        resolve(database, OPERATOR, which, done=False, output=None, evidence="x")
    assert refused.value.code == "STEP_COMPLETED"


def test_resolved_as_not_done(database: Database, unknown: UUID) -> None:
    """A clean failure: there is nothing to undo of it."""
    resolve(database, OPERATOR, of_step(database, unknown, "b"), done=False, output=None, evidence="not in the ledger")
    used = tools()
    work(database, unknown, used)
    assert used.names == ["undo_a"]
    assert statuses(database, unknown) == ("COMPENSATED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED")
    assert error_of(database, unknown, "b") == "RESOLVED_NOT_DONE"


def test_the_last_step_resolved(database: Database) -> None:
    """Ends the saga at once, and tells of it."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a"))
    work(database, trace_id, tools(do_a=BROKE_OFF))
    resolve(database, OPERATOR, of_step(database, trace_id, "a"), done=True, output=None, evidence="x")
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")
    assert told(database) == ["saga.needs_operator", "saga.completed"]
    assert not is_due(database, trace_id)


@pytest.mark.parametrize(("done", "saga"), [(True, "COMPENSATED"), (False, "FAILED")])
def test_an_undo_resolved(database: Database, done: bool, saga: str) -> None:
    """Resolved as not done, it is a failed compensation, which may be retried without allow_destructive."""
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=REFUSED, undo_a=BROKE_OFF))
    resolve(database, OPERATOR, of_undo(database, trace_id, "a"), done=done, output=None, evidence="x")
    work(database, trace_id, tools())
    assert statuses(database, trace_id)[0] == saga
    if not done:
        assert (
            retry_compensation(database, OPERATOR, of_undo(database, trace_id, "a"), Retry())["status"] == "scheduled"
        )
        work(database, trace_id, tools())
        assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")


def test_an_undo_that_was_not_made_leaves_the_rest_to_an_operator(database: Database) -> None:
    """A webhook announces it, and compensation continues after a retry or a resolution."""
    for by_hand in (False, True):
        change(database, "DELETE FROM webhook_messages")
        change(database, "DELETE FROM webhook_endpoints")
        trace_id = start(database, step("a", undo=True), step("b", undo=True), step("c"))
        work(database, trace_id, tools(do_c=REFUSED, undo_b=BROKE_OFF))
        an_endpoint(database, event_types=EVENTS)
        which = of_undo(database, trace_id, "b")
        resolve(database, OPERATOR, which, done=False, output=None, evidence="not in the ledger")
        assert statuses(database, trace_id)[0] == "FAILED"
        assert saga_of(database, trace_id).needs_operator
        assert undo_of(database, trace_id, "b").error == Error("RESOLVED_NOT_DONE", "operator: not in the ledger")
        assert told(database) == ["step.failed", "saga.needs_operator", "saga.failed"]
        if by_hand:
            resolve(database, OPERATOR, which, done=True, output=None, evidence="paid back")
        else:
            retry_compensation(database, OPERATOR, which, Retry())
        used = tools()
        work(database, trace_id, used)
        assert used.names == (["undo_a"] if by_hand else ["undo_b", "undo_a"])
        assert statuses(database, trace_id)[0] == "COMPENSATED"


def test_retried_only_with_the_word_that_it_may_run_twice(database: Database, unknown: UUID) -> None:
    """Then once more, with the same key; if its answer is lost again, the word is used up."""
    an_endpoint(database, event_types=EVENTS)
    which = of_step(database, unknown, "b")
    with pytest.raises(MayRunTwice):
        retry_step(database, OPERATOR, which, Retry())
    assert retry_step(database, OPERATOR, which, FORCED)["status"] == "requeued"
    assert error_of(database, unknown, "b") is None
    first = claimed(database, unknown)
    assert not first.again
    assert first.idempotency_key == f"fwd-{unknown.hex}-{which.span}"
    die(database, unknown)
    used = tools()
    work(database, unknown, used)
    assert used.calls == []
    assert error_of(database, unknown, "b") == OUTCOME_UNKNOWN
    assert told(database) == ["saga.needs_operator"]


def test_retried_and_refused_is_still_in_doubt(database: Database, unknown: UUID) -> None:
    """The second call failed cleanly, but the outcome of the first is unknown, so it is compensated."""
    retry_step(database, OPERATOR, of_step(database, unknown, "b"), FORCED)
    used = tools(do_b=REFUSED)
    work(database, unknown, used)
    assert used.names == ["do_b", "undo_b", "undo_a"]
    assert statuses(database, unknown)[0] == "COMPENSATED"


def test_a_forced_retry_waits_for_a_server_that_is_away(database: Database, unknown: UUID) -> None:
    """The operator's word outlives the wait."""
    retry_step(database, OPERATOR, of_step(database, unknown, "b"), FORCED)
    used = tools(do_b=AWAY)
    work(database, unknown, used)
    wait(database, unknown)
    work(database, unknown, used)
    assert used.names == ["do_b", "do_b", "do_c"]
    assert statuses(database, unknown)[0] == "COMPLETED"


def test_cancelled_before_a_worker_came_to_the_retry(database: Database, unknown: UUID) -> None:
    """The call is not repeated. The outcome of the first is still unknown, so it is compensated."""
    retry_step(database, OPERATOR, of_step(database, unknown, "b"), FORCED)
    cancel_saga(database, OPERATOR, unknown, "not wanted any more")
    used = tools()
    work(database, unknown, used)
    assert used.names == ["undo_b", "undo_a"]
    assert used.calls[0].arguments["facts"]["blind_cleanup"]
    assert error_of(database, unknown, "b") == "CANCELLED"
    assert statuses(database, unknown)[0] == "COMPENSATED"


def test_what_was_cancelled_is_not_retried(database: Database) -> None:
    """A call under way is waited for, and not started again."""
    trace_id = start(database, step("a", undo=True, idempotent=True))
    call, which = claimed(database, trace_id), of_step(database, trace_id, "a")
    cancel_saga(database, OPERATOR, trace_id, None)
    with pytest.raises(WrongState) as refused:
        retry_step(database, OPERATOR, which, Retry(force=True, allow_destructive=True))
    assert refused.value.code == "SAGA_CANCELLED"
    undo = record(database, call, Done({}), {}, 0.5)
    assert undo is not None
    assert undo.tool == "undo_a"


def test_an_idempotent_step_is_retried_without_more_words(database: Database) -> None:
    trace_id = start(database, step("a", idempotent=True))
    claimed(database, trace_id)
    die(database, trace_id)
    assert retry_step(database, OPERATOR, of_step(database, trace_id, "a"), Retry())["status"] == "requeued"
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")


def test_a_worker_that_is_at_it_is_left_alone(database: Database) -> None:
    """Unless forced: then what it has to say is dropped."""
    trace_id = start(database, step("a", idempotent=True))
    call, which = claimed(database, trace_id), of_step(database, trace_id, "a")
    before = saga_of(database, trace_id)
    assert retry_step(database, OPERATOR, which, Retry())["status"] == "claim_active"
    assert saga_of(database, trace_id) == before
    assert retry_step(database, OPERATOR, which, Retry(force=True))["status"] == "requeued"
    assert record(database, call, REFUSED, {}, 0.5) is None
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")


def test_an_undo_is_tried_again_from_where_it_stopped(database: Database, stuck_undo: UUID) -> None:
    """The same row, with the same key; then the others behind it."""
    which = of_undo(database, stuck_undo, "b")
    assert retry_compensation(database, OPERATOR, which, Retry())["status"] == "scheduled"
    assert statuses(database, stuck_undo)[0] == "COMPENSATING"
    used = tools()
    work(database, stuck_undo, used)
    assert used.names == ["undo_b", "undo_a"]
    assert used.calls[0].idempotency_key == f"comp-{stuck_undo.hex}-{which.span}"
    assert statuses(database, stuck_undo)[0] == "COMPENSATED"
    with pytest.raises(WrongState) as refused:
        retry_compensation(database, OPERATOR, which, Retry())
    assert refused.value.code == "SAGA_COMPENSATED"


def test_an_undo_that_timed_out_may_run_twice(database: Database) -> None:
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=REFUSED, undo_a=TOO_LONG))
    assert statuses(database, trace_id) == ("FAILED", "COMPENSATING", "FAILED", "TIMED_OUT")
    which = of_undo(database, trace_id, "a")
    with pytest.raises(MayRunTwice):
        retry_compensation(database, OPERATOR, which, Retry())
    retry_compensation(database, OPERATOR, which, FORCED)
    work(database, trace_id, tools())
    assert statuses(database, trace_id)[0] == "COMPENSATED"


def test_an_undo_whose_worker_died(database: Database) -> None:
    """Not idempotent as far as anybody knows: an operator is asked, and may have it repeated."""
    trace_id = start(database, step("a", undo=True), step("b"))
    used = tools(do_b=REFUSED)
    first = claimed(database, trace_id)
    second = record(database, first, used.make(first), {}, 0.5)
    assert second is not None
    undo = record(database, second, used.make(second), {}, 0.5)
    assert undo is not None
    assert undo.tool == "undo_a"
    die(database, trace_id)
    work(database, trace_id, used)
    assert statuses(database, trace_id) == ("COMPENSATING", "COMPENSATING", "FAILED", "IN_PROGRESS")
    assert saga_of(database, trace_id).needs_operator
    which = of_undo(database, trace_id, "a")
    assert retry_compensation(database, OPERATOR, which, FORCED)["status"] == "requeued"
    work(database, trace_id, used)
    assert statuses(database, trace_id)[0] == "COMPENSATED"


def test_undone_by_hand(database: Database, stuck_undo: UUID) -> None:
    """The undoing goes on with what is left; what was done by hand is not done again."""
    an_endpoint(database, event_types=EVENTS)
    which = of_undo(database, stuck_undo, "b")
    resolve(database, OPERATOR, which, done=True, output={"refund": 7}, evidence="paid back at the counter")
    undo = undo_of(database, stuck_undo, "b")
    assert (undo.output, undo.evidence, undo.error) == (
        {"refund": 7},
        "operator: paid back at the counter",
        None,
    )
    assert not saga_of(database, stuck_undo).needs_operator
    used = tools()
    work(database, stuck_undo, used)
    assert used.names == ["undo_a"]
    assert statuses(database, stuck_undo) == (
        "COMPENSATED",
        "COMPENSATED",
        "COMPENSATED",
        "FAILED",
        "COMPLETED",
        "COMPLETED",
    )
    assert told(database) == ["saga.compensated"]
    with pytest.raises(WrongState):
        resolve(database, OPERATOR, which, done=True, output=None, evidence="x")


def test_two_operators_at_one_failed_undo(database: Database, stuck_undo: UUID) -> None:
    """One has it tried again, others say that it was done by hand: one of them is heard, and it is not undone twice."""
    which = of_undo(database, stuck_undo, "b")

    def by_hand() -> object:
        return resolve(database, OPERATOR, which, done=True, output=None, evidence="paid back")

    def once_more() -> object:
        return retry_compensation(database, OPERATOR, which, Retry())

    answers = at_once([by_hand, by_hand, once_more])
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert all(isinstance(answer, dict | WrongState) for answer in answers)
    used = tools()
    work(database, stuck_undo, used)
    assert used.names == (["undo_b", "undo_a"] if isinstance(answers[2], dict) else ["undo_a"])
    assert statuses(database, stuck_undo)[0] == "COMPENSATED"


def test_an_undo_that_failed_before_its_call_undone_by_hand(database: Database) -> None:
    """The step that it undoes had not begun to be undone."""
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=REFUSED, undo_a=REFUSED))
    change(database, "UPDATE saga_steps SET status = 'COMPLETED' WHERE place = 0")
    resolve(database, OPERATOR, of_undo(database, trace_id, "a"), done=True, output=None, evidence="x")
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "COMPLETED")


def test_an_undo_that_nobody_will_make(database: Database, stuck_undo: UUID) -> None:
    """The saga stays failed and waits for no one. A retry is possible, and asks an operator again if it fails."""
    an_endpoint(database, event_types=EVENTS)
    which = of_undo(database, stuck_undo, "b")
    before = statuses(database, stuck_undo)
    assert saga_of(database, stuck_undo).needs_operator
    resolve(database, OPERATOR, which, done=False, output=None, evidence="the customer keeps it")
    assert statuses(database, stuck_undo) == before
    assert not saga_of(database, stuck_undo).needs_operator
    assert undo_of(database, stuck_undo, "b").evidence == "operator: the customer keeps it"
    assert told(database) == []
    assert not is_due(database, stuck_undo)
    retry_compensation(database, OPERATOR, which, Retry())
    work(database, stuck_undo, tools(undo_b=REFUSED))
    assert saga_of(database, stuck_undo).needs_operator
    assert undo_of(database, stuck_undo, "b").evidence is None
    assert told(database) == ["step.failed", "saga.needs_operator", "saga.failed"]


def test_a_token_is_one_wish(database: Database, stuck_undo: UUID) -> None:
    """The same answer to every repetition, at once and later; other parameters are another wish."""
    which = of_undo(database, stuck_undo, "b")
    request = Retry(token="once", reason="the ledger is back")
    answers = at_once([lambda: retry_compensation(database, OPERATOR, which, request)] * 5)
    assert answers == [answers[0]] * 5
    used = tools(undo_b=REFUSED)
    work(database, stuck_undo, used)
    assert retry_compensation(database, OPERATOR, which, request) == answers[0]
    work(database, stuck_undo, used)
    assert used.names == ["undo_b"]
    with pytest.raises(RecoveryTokenReused):
        retry_compensation(database, OPERATOR, which, Retry(token="once", force=True))
    with pytest.raises(RecoveryTokenReused):
        retry_step(database, OPERATOR, which, request)


def test_what_is_refused(database: Database, unknown: UUID, stuck_undo: UUID) -> None:
    """Each means where it belongs, and nothing changes."""
    done, pending = of_step(database, unknown, "a"), of_step(database, unknown, "c")
    undo, waiting = of_undo(database, stuck_undo, "b"), of_undo(database, stuck_undo, "a")
    before = saga_of(database, unknown), saga_of(database, stuck_undo)
    domain_errors = [
        (retry_step, done, "STEP_COMPLETED"),
        (retry_step, pending, "STEP_PENDING"),
        (retry_step, undo, "STEP_FAILED"),
        (retry_step, of_step(database, stuck_undo, "c"), "SAGA_FAILED"),
        (retry_compensation, of_step(database, unknown, "b"), "STEP_IN_PROGRESS"),
        (retry_compensation, waiting, "STEP_PENDING"),
    ]
    for act, which, code in domain_errors:
        with pytest.raises(WrongState) as refused:
            act(database, OPERATOR, which, FORCED)
        assert refused.value.code == code
    for which in (done, pending, of_step(database, stuck_undo, "c"), waiting):
        with pytest.raises(WrongState):
            resolve(database, OPERATOR, which, done=True, output=None, evidence="x")
    with pytest.raises(NotFound):
        retry_step(database, someone(Role.OPERATOR, "other"), of_step(database, unknown, "b"), FORCED)
    assert before == (saga_of(database, unknown), saga_of(database, stuck_undo))


def test_a_call_under_way_is_not_resolved(database: Database) -> None:
    trace_id = start(database, step("a"))
    claimed(database, trace_id)
    with pytest.raises(WrongState, match="is still running: wait for its result, or take it over with retry-step"):
        resolve(database, OPERATOR, of_step(database, trace_id, "a"), done=True, output=None, evidence="x")
    assert advance(database, trace_id) is None


PAID = {"with": {"id": {"from": "$.steps.b.output.data.id", "required": True}}}


@pytest.fixture
def undo_without_id(database: Database) -> UUID:
    """The output of b has no id, so its compensation has no arguments."""
    undo = {"compensation": {**OF_WORKER, "tools": ["undo_b"], **PAID}}
    trace_id = start(database, step("a", undo=True), step("b", **undo), step("c"))
    used = tools(do_c=REFUSED)
    work(database, trace_id, used)
    assert used.names == ["do_a", "do_b", "do_c"]
    return trace_id


def test_a_required_argument_of_an_undo_is_missing(database: Database, undo_without_id: UUID) -> None:
    """Nothing is called, an operator is needed, and a retry is no second time."""
    undo = undo_of(database, undo_without_id, "b")
    assert undo.error is not None
    assert (undo.error.code, undo.error.details) == ("ARGUMENT_MISSING", {"arguments": {"id": None}})
    assert "with.id is required, and there is nothing at $.steps.b.output.data.id" in undo.error.message
    saga = saga_of(database, undo_without_id)
    assert (str(saga.status), saga.needs_operator) == ("FAILED", True)
    assert retry_compensation(database, OPERATOR, ref(undo_without_id, undo), Retry())["status"] == "scheduled"
    work(database, undo_without_id, tools())
    assert saga_of(database, undo_without_id).needs_operator


def test_an_undo_with_corrected_arguments(database: Database, undo_without_id: UUID) -> None:
    which = of_undo(database, undo_without_id, "b")
    request = Retry(arguments={"id": "R-7"}, reason="looked it up")
    assert retry_compensation(database, OPERATOR, which, request)["status"] == "scheduled"
    used = tools(undo_b=REFUSED)
    work(database, undo_without_id, used)
    # A retry without a word keeps what was corrected.
    retry_compensation(database, OPERATOR, which, Retry())
    work(database, undo_without_id, used)
    assert [(call.tool, call.arguments) for call in used.calls][:2] == [("undo_b", {"id": "R-7"})] * 2
    assert used.names == ["undo_b", "undo_b", "undo_a"]
    assert statuses(database, undo_without_id)[0] == "COMPENSATED"
    correction = undo_of(database, undo_without_id, "b").correction
    assert correction is not None
    assert (correction["by"], correction["reason"], correction["before"]) == ("operator", "looked it up", None)
    told = get_step(database, OPERATOR, undo_without_id, which.span, None)
    assert (told["correction"], told["resolved_arguments"]) == (correction, {"id": "R-7"})
    entry = list_events(database, ADMIN, EventFilter("default", type="step.retried"), Page()).items[-1]
    assert (entry["before"], entry["after"]) == (None, digest({"id": "R-7"}))
    assert entry["details"]["reason"] == "looked it up"


def test_arguments_are_not_corrected_while_nobody_knows(database: Database) -> None:
    """It may have been undone with those that it has."""
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=REFUSED, undo_a=BROKE_OFF))
    which = of_undo(database, trace_id, "a")
    with pytest.raises(WrongState, match="use resolve first"):
        retry_compensation(database, OPERATOR, which, Retry(allow_destructive=True, arguments={}))
    resolve(database, OPERATOR, which, done=False, output=None, evidence="not in the ledger")
    assert retry_compensation(database, OPERATOR, which, Retry(arguments={"done": 1}))["status"] == "scheduled"
    used = tools()
    work(database, trace_id, used)
    assert used.calls[0].arguments == {"done": 1}


def test_a_token_is_one_wish_whatever_its_reason(database: Database, stuck_undo: UUID) -> None:
    which = of_undo(database, stuck_undo, "b")
    first = retry_compensation(database, OPERATOR, which, Retry(token="t", reason="once"))
    assert retry_compensation(database, OPERATOR, which, Retry(token="t", reason="in other words")) == first
    assert retry_compensation(database, OPERATOR, which, Retry(token="t")) == first
    for other in (Retry(token="t", force=True), Retry(token="t", arguments={}), replace(FORCED, token="t")):
        with pytest.raises(RecoveryTokenReused):
            retry_compensation(database, OPERATOR, which, other)
