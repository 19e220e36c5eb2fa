"""The use of an approval: every (state, command) pair by name, and its laws over all sequences of requests."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.pauses.consumption import NO_OUTCOME, OUTCOME_WITHIN, Consumption, ExecutionReport, ExecutionStatus
from domain.pauses.execution import consume, miss_outcome, report, settle
from domain.pauses.pause import Actor, Decision, Event, Pause, Status
from domain.pauses.policy_floor import PolicyFloor
from domain.pauses.serialization import pause_document
from domain.pauses.use_summary import use_of
from domain.pauses.validity import valid_until
from domain.values import canonical_json
from domain.values.errors import (
    AlreadyConsumed,
    ApprovalExpired,
    ArgumentsChanged,
    ExecutionConflict,
    NotApproved,
    NotConsumed,
    OutcomeConflict,
)
from tests.domain.pauses.test_pause import BEN, MOMENT, T0, a_pause, resolved

KEY, OTHER = "run-0001", "run-0002"
DECIDED = T0 + timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ARGUMENTS = {"amount": 5}
DIGEST = canonical_json.digest(ARGUMENTS).hex()
LATER = DECIDED + timedelta(seconds=12)


def approved(**changes: Any) -> Pause:
    digest = canonical_json.digest(ARGUMENTS)
    return replace(resolved(Status.APPROVED, arguments=ARGUMENTS, arguments_digest=digest), **changes)


def used(**changes: Any) -> Pause:
    return consume(approved(**changes), KEY, None, LATER)[0]


def told(status: ExecutionStatus = ExecutionStatus.SUCCEEDED, **more: Any) -> ExecutionReport:
    return replace(ExecutionReport(status, LATER + SECOND), **more)


def reported(status: ExecutionStatus = ExecutionStatus.SUCCEEDED) -> Pause:
    return report(used(), told(status))[0]


# The states of a pause, and the error of each command; None: it changes the pause. A repetition changes nothing.
REPEATED = "repeated"
COMMANDS: dict[str, Callable[[Pause], tuple[Pause, tuple[Event, ...]]]] = {
    "consume": lambda pause: consume(pause, KEY, None, LATER + 2 * SECOND),
    "consume with another key": lambda pause: consume(pause, OTHER, None, LATER + 2 * SECOND),
    "consume with other arguments": lambda pause: consume(pause, KEY, "0" * 64, LATER + 2 * SECOND),
    "report success": lambda pause: report(pause, told()),
    "report failure": lambda pause: report(pause, told(ExecutionStatus.FAILED)),
    "settle as failed": lambda pause: report(pause, told(ExecutionStatus.FAILED), settles=True),
    "miss": lambda pause: miss_outcome(pause, LATER + timedelta(days=1)),
}
UNUSABLE = (NotApproved,) * 3 + (NotConsumed,) * 3 + (REPEATED,)
STATES: dict[str, tuple[Pause, tuple[Any, ...]]] = {
    "pending": (a_pause(), UNUSABLE),
    "rejected": (resolved(Status.REJECTED), UNUSABLE),
    "expired": (resolved(Status.EXPIRED), UNUSABLE),
    "cancelled": (resolved(Status.CANCELLED), UNUSABLE),
    "approved": (approved(), (None, None, ArgumentsChanged, NotConsumed, NotConsumed, NotConsumed, REPEATED)),
    "too late": (
        approved(approval_valid_for=12),
        (ApprovalExpired,) * 3 + (NotConsumed,) * 3 + (REPEATED,),
    ),
    "used": (used(), (REPEATED, AlreadyConsumed, ArgumentsChanged, None, None, None, None)),
    "used, then too late": (
        used(approval_valid_for=13),
        (REPEATED, AlreadyConsumed, ArgumentsChanged, None, None, None, None),
    ),
    "missed": (
        miss_outcome(used(), LATER + timedelta(days=1))[0],
        (REPEATED, AlreadyConsumed, ArgumentsChanged, None, None, None, REPEATED),
    ),
    "succeeded": (
        reported(),
        (REPEATED, AlreadyConsumed, ArgumentsChanged, REPEATED, OutcomeConflict, OutcomeConflict, REPEATED),
    ),
    "unknown": (
        reported(ExecutionStatus.UNKNOWN),
        (REPEATED, AlreadyConsumed, ArgumentsChanged, OutcomeConflict, OutcomeConflict, None, REPEATED),
    ),
}


ANA = Actor("usr_ana", "Ana")
FOUND = ExecutionReport(ExecutionStatus.SUCCEEDED, LATER + timedelta(days=1), "in the ledger", by=ANA)


@pytest.mark.parametrize("state", STATES)
def test_an_operator_settles_what_needs_a_look(state: str) -> None:
    """An unknown or missing outcome, and no other."""
    before, _ = STATES[state]
    if before.consumption is None:
        with pytest.raises(NotConsumed):
            settle(before, FOUND)
    elif state == "succeeded":
        with pytest.raises(OutcomeConflict, match="does not change"):
            settle(before, FOUND)
    else:
        after, events = settle(before, FOUND)
        assert after.consumption is not None
        assert after.consumption.report == FOUND
        assert (after.consumption.outcome_due_at, [event.type for event in events]) == (None, ["pause.outcome"])
        assert settle(after, FOUND) == (after, ())
        for other in (replace(FOUND, status=ExecutionStatus.FAILED), replace(FOUND, note="guessed")):
            with pytest.raises(OutcomeConflict, match="does not change"):
                settle(after, other)
        # A late report, even of the same.
        for late in (told(ExecutionStatus.FAILED), told(ExecutionStatus.UNKNOWN), replace(FOUND, by=None)):
            with pytest.raises(OutcomeConflict, match="settled by an operator at"):
                report(after, late)


def test_an_operator_waits_until_the_report_is_overdue() -> None:
    pause = used()
    assert pause.consumption is not None
    due = pause.consumption.outcome_due_at
    assert due is not None
    with pytest.raises(OutcomeConflict, match="the agent may still report"):
        settle(pause, replace(FOUND, at=due - MOMENT))
    assert settle(pause, replace(FOUND, at=due))[1]


def test_an_outcome_that_no_client_can_report_is_not_missing() -> None:
    """An operator settles it only if it was reported as unknown after all."""
    pause = used(outcome_within=NO_OUTCOME)
    with pytest.raises(OutcomeConflict, match="cannot report an outcome"):
        settle(pause, FOUND)
    unknown, _ = report(pause, told(ExecutionStatus.UNKNOWN))
    assert settle(unknown, FOUND)[1]


def test_the_agents_result_stays() -> None:
    pause, _ = report(used(), ExecutionReport(ExecutionStatus.UNKNOWN, LATER, "the line broke", {"id": "R-7"}))
    settled, _ = settle(pause, FOUND)
    assert settled.consumption is not None
    assert settled.consumption.report == replace(FOUND, result={"id": "R-7"})


@pytest.mark.parametrize(("state", "command"), list(product(STATES, COMMANDS)))
def test_every_pair(state: str, command: str) -> None:
    before, effects = STATES[state]
    effect = dict(zip(COMMANDS, effects, strict=True))[command]
    if isinstance(effect, type):
        with pytest.raises(effect) as refused:
            COMMANDS[command](before)
        assert len(str(refused.value)) > 40, "it says what happened and what to do"
        return
    after, events = COMMANDS[command](before)
    assert (after == before) == (effect == REPEATED) == (not events)
    assert replace(after, consumption=before.consumption) == before, "nothing else changes"


def test_the_answers_tell_what_happened() -> None:
    with pytest.raises(NotApproved, match="pending: wait"):
        consume(a_pause(), KEY, None, LATER)
    with pytest.raises(NotApproved, match="rejected: do not execute"):
        consume(resolved(Status.REJECTED), KEY, None, LATER)
    with pytest.raises(AlreadyConsumed, match=r"used at 2026-03-01T12:01:12\.000Z with another Idempotency-Key"):
        consume(used(), OTHER, None, LATER)
    with pytest.raises(ApprovalExpired, match=r"valid until 2026-03-01T12:01:10\.000Z"):
        consume(approved(approval_valid_for=10), KEY, None, LATER)
    with pytest.raises(ArgumentsChanged, match=f"have the digest {DIGEST}"):
        consume(approved(), KEY, "0" * 64, LATER)
    with pytest.raises(ArgumentsChanged, match="has no arguments"):
        consume(resolved(Status.APPROVED), KEY, DIGEST, LATER)
    with pytest.raises(OutcomeConflict, match=r"outcome succeeded was reported at 2026-03-01T12:01:13\.000Z"):
        report(reported(), told(ExecutionStatus.FAILED))


def test_a_repetition_after_the_validity_may_be_refused() -> None:
    """For a client that cannot tell a repetition from the first answer."""
    pause = used(approval_valid_for=60)
    end = DECIDED + timedelta(seconds=60)
    assert consume(pause, KEY, None, end - MOMENT, only_valid=True) == (pause, ())
    with pytest.raises(ApprovalExpired):
        consume(pause, KEY, None, end, only_valid=True)
    assert consume(pause, KEY, None, end) == (pause, ())


def test_validity_ends_exactly_at_its_end() -> None:
    """A use at that moment is too late, one a moment before is not."""
    pause = approved(approval_valid_for=60)
    end = valid_until(pause)
    assert end is not None
    assert end == DECIDED + timedelta(seconds=60)
    assert consume(pause, KEY, DIGEST, end - MOMENT)[1]
    with pytest.raises(ApprovalExpired):
        consume(pause, KEY, DIGEST, end)
    assert valid_until(resolved(Status.REJECTED, approval_valid_for=60)) is None
    assert valid_until(approved()) is None


def test_a_use_is_not_earlier_than_the_decision() -> None:
    """Its transaction may have begun before that of the decision, and then waited for the row."""
    after, _ = consume(approved(), KEY, DIGEST, DECIDED - SECOND)
    assert after.consumption == Consumption(DECIDED, KEY, DECIDED + timedelta(seconds=OUTCOME_WITHIN))


def needs_look(pause: Pause, now: datetime) -> bool:
    use = use_of(pause_document(pause, "http://x"), now)
    assert use is not None
    return use.state.needs_look


def test_the_outcome_is_due_after_a_time() -> None:
    first = used().consumption
    assert first == Consumption(LATER, KEY, LATER + timedelta(seconds=OUTCOME_WITHIN))
    pause = used(outcome_within=60)
    due = LATER + timedelta(seconds=60)
    assert miss_outcome(pause, due - MOMENT) == (pause, ())
    assert not needs_look(pause, due - MOMENT)
    assert needs_look(pause, due)
    missed, (event,) = miss_outcome(pause, due)
    assert (event.type, event.pause, needs_look(missed, due)) == ("pause.outcome_missing", missed, True)
    late, (event,) = report(missed, told())
    assert (event.type, needs_look(late, due)) == ("pause.outcome", False)


def test_an_unknown_outcome_needs_a_look_until_it_is_settled() -> None:
    assert not needs_look(approved(), LATER)
    unknown, events = report(used(), told(ExecutionStatus.UNKNOWN, note="the line broke"))
    assert [event.type for event in events] == ["pause.outcome", "pause.outcome_missing"]
    assert needs_look(unknown, LATER)
    settled, events = report(unknown, told(), settles=True)
    assert [event.type for event in events] == ["pause.outcome"]
    assert not needs_look(settled, LATER)


@pytest.mark.parametrize("change", [{"note": "other"}, {"result": True}, {"result": None}])
def test_the_same_report_is_the_same_in_every_part(change: dict[str, Any]) -> None:
    """JSON's 1 is not true, although Python's is."""
    first, _ = report(used(), told(note="done", result=1))
    assert report(first, told(note="done", result=1.0, at=LATER + timedelta(hours=1))) == (first, ())
    with pytest.raises(OutcomeConflict):
        report(first, told(**{"note": "done", "result": 1, **change}))


def test_a_namespace_is_default_and_upper_limit_of_the_validity() -> None:
    floor = PolicyFloor("default", approval_valid_for=900)
    assert [floor.valid_for(wanted) for wanted in (None, 60, 900, 901)] == [900, 60, 900, 900]
    assert [PolicyFloor("default").valid_for(wanted) for wanted in (None, 60)] == [None, 60]


def test_documents_without_use_are_as_they_were() -> None:
    """The log keeps digests of documents that older releases wrote."""
    document = pause_document(approved(), "http://x")
    assert not document.keys() & {"consumption", "approvalValidFor", "outcomeWithin"}
    assert "validUntil" not in document["decision"]


def test_documents_tell_of_the_use() -> None:
    document = pause_document(used(approval_valid_for=60, outcome_within=120), "http://x")
    assert (document["approvalValidFor"], document["outcomeWithin"]) == (60, 120)
    assert document["decision"]["validUntil"] == "2026-03-01T12:02:00.000Z"
    times = {"consumedAt": "2026-03-01T12:01:12.000Z", "outcomeDueAt": "2026-03-01T12:03:12.000Z"}
    assert document["consumption"] == times
    after, _ = report(used(outcome_within=120), told(ExecutionStatus.FAILED, note="no", result={"n": 1}))
    outcome = {"status": "failed", "note": "no", "result": {"n": 1}, "reportedAt": "2026-03-01T12:01:13.000Z"}
    assert pause_document(after, "http://x")["consumption"] == {**times, "outcome": outcome}


REQUESTS = st.one_of(
    st.tuples(st.just("consume"), st.sampled_from(["a", "b", "c"]), st.sampled_from([None, DIGEST, "0" * 64])),
    st.tuples(st.just("report"), st.sampled_from(ExecutionStatus), st.sampled_from([None, 1])),
    st.tuples(st.just("miss"), st.none(), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), REQUESTS), max_size=12), st.sampled_from([None, 1, 30, 60]))
def test_the_laws_hold_in_any_order(steps: list[tuple[int, tuple[str, Any, Any]]], valid_for: int | None) -> None:
    """One key wins and keeps its answer, within the validity; the first report counts, and only after the use."""
    pause, now = approved(approval_valid_for=valid_for), DECIDED
    winners: set[Any] = set()
    reports: set[Any] = set()
    for seconds, (kind, first, second) in steps:
        now += timedelta(seconds=seconds)
        before = pause
        try:
            if kind == "consume":
                pause, _ = consume(pause, str(first), second, now)
                winners.add(first)
                assert second != "0" * 64
            elif kind == "report":
                pause, _ = report(pause, ExecutionReport(ExecutionStatus(str(first)), now, result=second))
                reports.add((first, second))
            else:
                pause, _ = miss_outcome(pause, now)
        except ExecutionConflict:
            assert pause == before
        if before.consumption is not None:
            assert pause.consumption is not None
            assert (pause.consumption.at, pause.consumption.key) == (before.consumption.at, before.consumption.key)
    assert len(winners) <= 1
    assert len(reports) <= 1
    assert not reports or winners
    if pause.consumption is not None and valid_for is not None:
        assert pause.consumption.at < DECIDED + timedelta(seconds=valid_for)
    assert pause.decision == Decision(Status.APPROVED, BEN, DECIDED)
