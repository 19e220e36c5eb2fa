"""The pause machine: every (state, command) pair by name, and its laws over all sequences of commands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.pauses.pause import (
    ON_TIMEOUT,
    SYSTEM,
    TRANSITIONS,
    Actor,
    Approve,
    Cancel,
    Command,
    Decision,
    OnTimeout,
    Pause,
    Reject,
    Status,
    Timeout,
    created,
    decide,
    is_satisfied_by,
)
from domain.values import canonical_json
from domain.values.errors import Invalid, NotUnderstood, RevisionChanged, RevisionRequired, SelfDecision

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
AGENT = Actor("key_agent", "the agent")
ANNE, BEN = Actor("key_anne", "Anne"), Actor("key_ben", "Ben")
COMMANDS: dict[type, Command] = {
    Approve: Approve(ANNE),
    Reject: Reject(ANNE),
    Cancel: Cancel(AGENT),
    Timeout: Timeout(),
}
ASKED = {Approve: Status.APPROVED, Reject: Status.REJECTED, Cancel: Status.CANCELLED}


def a_pause(**changes: Any) -> Pause:
    pause = Pause(
        id=UUID(int=7),
        namespace="default",
        action="deploy",
        created_by=AGENT.id,
        created_at=T0,
        expires_at=T0 + timedelta(hours=1),
    )
    return replace(pause, **changes)


def with_arguments(arguments: dict[str, Any]) -> Pause:
    return a_pause(arguments=arguments, arguments_digest=canonical_json.digest(arguments))


def resolved(status: Status, by: Actor = BEN, **changes: Any) -> Pause:
    return a_pause(status=status, decision=Decision(status, by, T0 + timedelta(minutes=1)), **changes)


def test_transitions_name_every_way_out_of_pending() -> None:
    """Only `pending` is ever left, each command has its row, and each final state is reached by some row."""
    assert set(TRANSITIONS) == {(Status.PENDING, kind) for kind in COMMANDS}
    assert {status for ends in TRANSITIONS.values() for status in ends} == set(Status) - {Status.PENDING}
    assert set(ON_TIMEOUT) == set(OnTimeout)
    assert set(ON_TIMEOUT.values()) == set(TRANSITIONS[Status.PENDING, Timeout])


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("status", "kind"), list(product(Status, COMMANDS)))
def test_every_pair(status: Status, kind: type, late: bool) -> None:
    """A pair outside TRANSITIONS changes nothing; a pair in it leads where the table says."""
    before = a_pause() if status is Status.PENDING else resolved(status)
    now = T0 + timedelta(hours=2) if late else T0 + timedelta(minutes=5)
    after, events = decide(before, COMMANDS[kind], now)
    early_timeout = kind is Timeout and not late
    if (status, kind) not in TRANSITIONS or early_timeout:
        assert after is before
        assert events == ()
        return
    expected = Status.EXPIRED if late else ASKED[kind]
    assert after.status is expected
    assert expected in TRANSITIONS[status, Timeout if late else kind]
    assert after.decision is not None
    assert (after.decision.outcome, after.decision.at) == (expected, now)
    assert [(event.type, event.pause, event.at) for event in events] == [(f"pause.{expected}", after, now)]


@pytest.mark.parametrize("kind", [Approve, Reject])
@pytest.mark.parametrize("status", Status)
def test_nobody_decides_their_own(status: Status, kind: type) -> None:
    """Whatever state it is in; and the outcome of the pause is not told to one who may not decide it."""
    pause = a_pause() if status is Status.PENDING else resolved(status)
    with pytest.raises(SelfDecision):
        decide(pause, kind(AGENT), T0)


def test_the_creator_may_cancel() -> None:
    """Taking back what one asked for is no decision on it."""
    after, _ = decide(a_pause(), Cancel(AGENT, "not needed"), T0)
    assert after.decision == Decision(Status.CANCELLED, AGENT, T0, "not needed")


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize(("on_timeout", "status"), ON_TIMEOUT.items())
def test_from_expires_at_on_only_the_timeout_counts(on_timeout: OnTimeout, status: Status, kind: type) -> None:
    """At the very instant, and for every command: the system decides, as `on_timeout` says."""
    pause = a_pause(on_timeout=on_timeout)
    assert pause.expires_at is not None
    after, events = decide(pause, COMMANDS[kind], pause.expires_at)
    assert after.status is status
    assert after.decision == Decision(status, Actor(SYSTEM, SYSTEM), pause.expires_at)
    assert [event.type for event in events] == [f"pause.{status}"]


@pytest.mark.parametrize("kind", [Approve, Reject, Cancel])
def test_a_moment_before_expires_at_a_command_counts(kind: type) -> None:
    """The deadline itself is the first instant that is too late."""
    pause = a_pause(on_timeout=OnTimeout.APPROVE)
    assert pause.expires_at is not None
    assert decide(pause, COMMANDS[kind], pause.expires_at - MOMENT)[0].status is ASKED[kind]


def test_never_expires_without_expires_at() -> None:
    """A timeout of a pause without deadline is no timeout, however late."""
    pause = a_pause(expires_at=None)
    assert decide(pause, Timeout(), T0 + timedelta(days=36_500)) == (pause, ())
    assert decide(pause, Approve(ANNE), T0 + timedelta(days=36_500))[0].status is Status.APPROVED


def test_a_late_command_is_not_checked() -> None:
    """The timeout needs no revision and no answer; a late approver's mistakes must not keep the pause open."""
    pause = a_pause(response_schema={"type": "string"})
    after, _ = decide(pause, Approve(ANNE, response=3, revision=99), T0 + timedelta(hours=2))
    assert after.status is Status.EXPIRED


@pytest.mark.parametrize("kind", [Approve, Reject])
def test_a_decision_is_bound_to_the_revision_that_was_read(kind: type) -> None:
    """Another revision is refused and nothing changes; the same is accepted. None is the first one, and no other."""
    pause = a_pause(revision=3)
    for revision in (2, 4):
        with pytest.raises(RevisionChanged):
            decide(pause, kind(ANNE, revision=revision), T0)
    assert decide(pause, kind(ANNE, revision=3), T0)[0].status is ASKED[kind]
    with pytest.raises(RevisionRequired):
        decide(pause, kind(ANNE), T0)
    assert decide(a_pause(revision=1), kind(ANNE), T0)[0].status is ASKED[kind]


def test_edited_arguments_are_the_ones_approved() -> None:
    """The digest and the revision follow the edit, so what runs can be held against what was approved."""
    before = with_arguments({"count": 1})
    after, (event,) = decide(before, Approve(ANNE, arguments={"count": 2}), T0)
    assert after.arguments == {"count": 2}
    assert after.arguments_digest == canonical_json.digest({"count": 2}) != before.arguments_digest
    assert after.revision == before.revision + 1
    assert event.pause is after


def test_the_same_arguments_in_other_words_are_no_edit() -> None:
    """Order and spelling do not count, meaning does."""
    before = with_arguments({"a": 1, "b": [1.0]})
    after, _ = decide(before, Approve(ANNE, arguments={"b": [1], "a": 1.0}), T0)
    assert (after.arguments, after.revision) == (before.arguments, before.revision)
    assert after.arguments_digest == before.arguments_digest


def test_arguments_that_were_not_posted_cannot_be_edited() -> None:
    """A reviewer does not make up what is executed."""
    with pytest.raises(Invalid) as caught:
        decide(a_pause(), Approve(ANNE, arguments={}), T0)
    assert [field_error.path for field_error in caught.value.field_errors] == ["arguments"]


@pytest.mark.parametrize(
    ("schema", "command", "path"),
    [
        (None, Approve(ANNE, response="x"), "response"),
        (None, Reject(ANNE, response="x"), "response"),
        ({"type": "object"}, Approve(ANNE), "response"),
        ({"type": "object"}, Approve(ANNE, response="x"), "response"),
        ({"type": "object"}, Reject(ANNE, response="x"), "response"),
        (
            {"properties": {"a": {"items": {"type": "string"}}}},
            Approve(ANNE, response={"a": ["b", 1]}),
            "response.a[1]",
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused(schema: dict[str, Any] | None, command: Command, path: str) -> None:
    """With the place, in the words of the request."""
    with pytest.raises(Invalid) as caught:
        decide(a_pause(response_schema=schema), command, T0)
    assert [field_error.path for field_error in caught.value.field_errors] == [path]


def test_an_answer_is_kept_and_a_rejection_needs_none() -> None:
    """To reject is an answer by itself."""
    pause = a_pause(response_schema={"type": "object"})
    after, _ = decide(pause, Approve(ANNE, response={"x": 1}), T0)
    assert after.decision is not None
    assert after.decision.response == {"x": 1}
    assert decide(pause, Reject(ANNE, "no"), T0)[0].decision == Decision(Status.REJECTED, ANNE, T0, "no")


@pytest.mark.parametrize(("status", "kind"), list(product(Status, COMMANDS)))
def test_only_the_same_outcome_satisfies_a_command(status: Status, kind: type) -> None:
    """A repeat of what was decided is fine, whoever repeats it; the contrary is not."""
    pause = a_pause() if status is Status.PENDING else resolved(status)
    expected = status is Status.PENDING or kind is Timeout or ASKED[kind] is status
    assert is_satisfied_by(pause, COMMANDS[kind]) is expected


def test_a_repeat_has_the_same_arguments_and_response() -> None:
    """An approval of something else is no repeat: it must not count as satisfied."""
    approved, _ = decide(with_arguments({"count": 1}), Approve(ANNE, arguments={"count": 2}), T0)
    assert is_satisfied_by(approved, Approve(BEN))
    assert is_satisfied_by(approved, Approve(BEN, arguments={"count": 2.0}))
    assert not is_satisfied_by(approved, Approve(BEN, arguments={"count": 1}))
    assert not is_satisfied_by(resolved(Status.APPROVED), Approve(BEN, arguments={}))
    answered, _ = decide(a_pause(response_schema={}), Reject(ANNE, response={"x": 1}), T0)
    assert is_satisfied_by(answered, Reject(BEN))
    assert is_satisfied_by(answered, Reject(BEN, response={"x": 1}))
    assert not is_satisfied_by(answered, Reject(BEN, response={"x": 2}))
    assert not is_satisfied_by(answered, Reject(BEN, response={"x": True}))


@pytest.mark.parametrize(
    ("unreadable", "command", "harmless"),
    [
        ("review.quorum", Approve(ANNE), False),
        ("review.quorum", Reject(ANNE), True),
        ("review.quorum", Cancel(AGENT), True),
        ("votes[0].weight", Reject(ANNE), False),
        ("votes[0].weight", Cancel(AGENT), True),
    ],
)
def test_what_a_newer_release_wrote_is_never_approved(unreadable: str, command: Command, harmless: bool) -> None:
    """The unknown part may require more than this release checks."""
    pause = a_pause(unreadable=(unreadable,))
    if harmless:
        assert decide(pause, command, T0)[0].status is ASKED[type(command)]
        return
    with pytest.raises(NotUnderstood) as caught:
        decide(pause, command, T0)
    assert unreadable in str(caught.value)


@pytest.mark.parametrize("on_timeout", OnTimeout)
def test_the_timeout_of_what_a_newer_release_wrote(on_timeout: OnTimeout) -> None:
    pause, late = a_pause(unreadable=("review.quorum",), on_timeout=on_timeout), T0 + timedelta(hours=1)
    if on_timeout in (OnTimeout.EXPIRE, OnTimeout.REJECT):
        assert decide(pause, Timeout(), late)[0].status is ON_TIMEOUT[on_timeout]
        return
    with pytest.raises(NotUnderstood):
        decide(pause, Timeout(), late)


def test_edited_arguments_fit_their_schema() -> None:
    schema = {"type": "object", "properties": {"count": {"maximum": 5}}}
    pause = replace(with_arguments({"count": 1}), arguments_schema=schema)
    assert decide(pause, Approve(ANNE, arguments={"count": 5}), T0)[0].arguments == {"count": 5}
    with pytest.raises(Invalid) as caught:
        decide(pause, Approve(ANNE, arguments={"count": 6}), T0)
    assert [field_error.path for field_error in caught.value.field_errors] == ["arguments.count"]


def test_created() -> None:
    """The event that the others follow."""
    event = created(a_pause())
    assert (event.type, event.pause, event.at) == ("pause.created", a_pause(), T0)


actors = st.sampled_from([AGENT, ANNE, BEN])
edits = st.sampled_from([None, {"n": 1}, {"n": 2}])


class PauseMachine(RuleBasedStateMachine):
    """Any commands, by anyone, at any times that do not run backwards."""

    @initialize(
        on_timeout=st.sampled_from(OnTimeout),
        lifetime=st.one_of(st.none(), st.integers(1, 100)),
        arguments=st.sampled_from([None, {"n": 1}]),
    )
    def start(self, on_timeout: OnTimeout, lifetime: int | None, arguments: dict[str, Any] | None) -> None:
        expires_at = None if lifetime is None else T0 + timedelta(seconds=lifetime)
        self.pause = with_arguments(arguments) if arguments else a_pause()
        self.pause = replace(self.pause, expires_at=expires_at, on_timeout=on_timeout)
        self.now = T0
        self.final: Pause | None = None
        self.told: list[str] = []

    @rule(seconds=st.integers(0, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(by=actors, arguments=edits, revision=st.sampled_from([None, 1, 2]))
    def approve(self, by: Actor, arguments: dict[str, Any] | None, revision: int | None) -> None:
        self.command(Approve(by, arguments=arguments, revision=revision))

    @rule(by=actors, revision=st.sampled_from([None, 1, 2]))
    def reject(self, by: Actor, revision: int | None) -> None:
        self.command(Reject(by, revision=revision))

    @rule(by=actors)
    def cancel(self, by: Actor) -> None:
        self.command(Cancel(by))

    @rule()
    def sweep(self) -> None:
        self.command(Timeout())

    def command(self, command: Command) -> None:
        before = self.pause
        late = before.expires_at is not None and before.expires_at <= self.now
        try:
            self.pause, events = decide(before, command, self.now)
        except (SelfDecision, RevisionChanged, Invalid):
            assert self.pause is before
            return
        self.told += [event.type for event in events]
        changed = self.pause != before
        assert changed is bool(events)
        if self.final is None and changed:
            self.final = self.pause
            assert self.pause.status in TRANSITIONS[Status.PENDING, Timeout if late else type(command)]
            assert late is (self.pause.decision is not None and self.pause.decision.by.id == SYSTEM)
            # The command that resolved it is satisfied, unless it came after the deadline and lost.
            assert late or is_satisfied_by(self.pause, command)

    @invariant()
    def one_decision_wins_and_stays(self) -> None:
        if self.final is None:
            assert self.pause.status is Status.PENDING
            assert self.told == []
        else:
            assert self.pause == self.final
            assert self.told == [f"pause.{self.final.status}"]

    @invariant()
    def the_decision_tells_the_status(self) -> None:
        decision = self.pause.decision
        assert (decision is None) is (self.pause.status is Status.PENDING)
        if decision is not None:
            assert decision.outcome is self.pause.status
            assert decision.by != AGENT or decision.outcome is Status.CANCELLED

    @invariant()
    def the_digest_is_of_the_arguments(self) -> None:
        pause = self.pause
        assert pause.arguments_digest == (None if pause.arguments is None else canonical_json.digest(pause.arguments))


# 100 runs of 12 commands take about 2 s of one core.
PauseMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=12, deadline=None, database=None)
TestPauseMachine = PauseMachine.TestCase
