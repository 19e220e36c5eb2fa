"""The effect of an attempt on a delivery and on its endpoint's health."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.delivery.webhook import (
    CALLBACK_TYPES,
    EVENT_TYPES,
    FAILING_LIMIT,
    MAX_HEADERS,
    Attempt,
    AttemptOutcome,
    Delivery,
    DeliveryStatus,
    Health,
    after_attempt,
    header_errors,
    restart,
    subscribes,
)
from domain.values.backoff import MAX_RETRY_AFTER

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
SCHEDULE = (5, 300, 1_800)
WAITING = Delivery(DeliveryStatus.PENDING, attempts=0, retry=0, due_at=T0)
FAILURES = [outcome for outcome in AttemptOutcome if outcome is not AttemptOutcome.SUCCEEDED]


def an_attempt(outcome: AttemptOutcome = AttemptOutcome.FAILED, status: int | None = None, **more: str) -> Attempt:
    error = None if outcome is AttemptOutcome.SUCCEEDED else f"it {outcome}"
    return Attempt(outcome, T0, 12, status, error, **more)


@pytest.mark.parametrize("retry", range(len(SCHEDULE) + 1))
@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_every_outcome_at_every_place_in_the_schedule(outcome: AttemptOutcome, retry: int) -> None:
    """Success ends it; a failure of any kind waits for the next place, and after the last one it is exhausted."""
    before = replace(WAITING, attempts=9, retry=retry, last_error="the one before")
    after, health = after_attempt(before, an_attempt(outcome), Health(), SCHEDULE, T0, 0.5)
    assert after.attempts == 10
    if outcome is AttemptOutcome.SUCCEEDED:
        assert after == replace(before, status=DeliveryStatus.DELIVERED, attempts=10, completed_at=T0, last_error=None)
        assert health == Health()
    elif retry < len(SCHEDULE):
        due_at = T0 + timedelta(seconds=SCHEDULE[retry])
        assert after == replace(before, attempts=10, retry=retry + 1, due_at=due_at, last_error=f"it {outcome}")
        assert health == Health(failing_since=T0)
    else:
        assert (after.status, after.completed_at) == (DeliveryStatus.EXHAUSTED, T0)
        assert after.last_error == f"it {outcome}"
        # A message that failed for good does not disable the endpoint: time does.
        assert health == Health(failing_since=T0)


@pytest.mark.parametrize(("uniform", "seconds"), [(0.0, 240), (0.25, 270), (0.5, 300), (1.0, 360)])
def test_jitter_is_a_fifth_either_way(uniform: float, seconds: float) -> None:
    """And no more: the bounds are part of what is promised."""
    after, _ = after_attempt(replace(WAITING, retry=1), an_attempt(), Health(), SCHEDULE, T0, uniform)
    assert after.due_at == T0 + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("60", 60),
        ("1", 5),
        ("99999999", MAX_RETRY_AFTER),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 5),
        ("soon", 5),
    ],
)
def test_retry_after_is_the_least_that_is_waited(header: str, seconds: float) -> None:
    """It never shortens the schedule, and never stops us for longer than the schedule itself would."""
    attempt = an_attempt(status=503, retry_after=header)
    after, _ = after_attempt(WAITING, attempt, Health(), SCHEDULE, T0, 0.5)
    assert after.due_at == T0 + timedelta(seconds=seconds)


def test_retry_after_does_not_add_retries() -> None:
    """A receiver cannot keep a message alive without end."""
    last = replace(WAITING, retry=len(SCHEDULE))
    after, _ = after_attempt(last, an_attempt(status=503, retry_after="1"), Health(), SCHEDULE, T0, 0.5)
    assert after.status is DeliveryStatus.EXHAUSTED


def test_410_disables_the_endpoint_at_once() -> None:
    """And says why."""
    after, health = after_attempt(WAITING, an_attempt(status=410), Health(), SCHEDULE, T0, 0.5)
    assert after.status is DeliveryStatus.EXHAUSTED
    assert health == Health(False, T0, "the receiver answered 410 Gone")


@pytest.mark.parametrize("outcome", FAILURES)
@pytest.mark.parametrize(("failing_for", "enabled"), [(FAILING_LIMIT, True), (FAILING_LIMIT + MOMENT, False)])
def test_failing_for_longer_than_the_limit_disables(
    outcome: AttemptOutcome, failing_for: timedelta, enabled: bool
) -> None:
    """Since the first failure after the last success; the message that showed it is exhausted with it."""
    since = T0 - failing_for
    after, health = after_attempt(WAITING, an_attempt(outcome), Health(failing_since=since), SCHEDULE, T0, 0.5)
    assert (health.enabled, health.failing_since) == (enabled, since)
    assert (health.disabled_reason is None) is enabled
    assert after.status is (DeliveryStatus.PENDING if enabled else DeliveryStatus.EXHAUSTED)
    if not enabled:
        assert health.disabled_reason == f"every attempt failed since {since:%Y-%m-%d %H:%M} UTC"


def test_a_success_forgets_the_failures() -> None:
    """However long it failed before: what is disabled is not enabled by it, though."""
    long_ago = T0 - 2 * FAILING_LIMIT
    good = an_attempt(AttemptOutcome.SUCCEEDED, 200)
    assert after_attempt(WAITING, good, Health(failing_since=long_ago), SCHEDULE, T0, 0.5)[1] == Health()
    disabled = Health(False, long_ago, "because")
    assert after_attempt(WAITING, good, disabled, SCHEDULE, T0, 0.5)[1] == Health(False, None, "because")


@pytest.mark.parametrize("status", [None, 410, 500])
def test_a_failure_under_way_when_the_endpoint_was_disabled_is_the_last(status: int | None) -> None:
    """A disabled endpoint gets no retries, and keeps the reason of the person who disabled it."""
    disabled = Health(False, None, None)
    after, health = after_attempt(WAITING, an_attempt(status=status), disabled, SCHEDULE, T0, 0.5)
    assert after.status is DeliveryStatus.EXHAUSTED
    assert health == Health(False, T0, None)


def test_restart_keeps_the_count_and_begins_the_schedule_anew() -> None:
    """The attempts made stay numbered."""
    assert restart(T0, 8) == Delivery(DeliveryStatus.PENDING, 8, 0, T0, None, None)


def test_subscribes() -> None:
    """No types means all."""
    assert subscribes((), "pause.created")
    assert subscribes(("pause.created", "pause.expired"), "pause.expired")
    assert not subscribes(("pause.created",), "pause.expired")
    assert set(EVENT_TYPES) > CALLBACK_TYPES
    assert "pause.created" not in CALLBACK_TYPES


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"": "x"}, "not a valid HTTP header name"),
        ({"a b": "x"}, "not a valid HTTP header name"),
        ({"a:": "x"}, "not a valid HTTP header name"),
        ({"ä": "x"}, "not a valid HTTP header name"),
        ({"x" * 65: "x"}, "not a valid HTTP header name"),
        ({"x\n": "x"}, "not a valid HTTP header name"),
        ({"Host": "x"}, "cannot be replaced"),
        ({"CONTENT-LENGTH": "1"}, "cannot be replaced"),
        ({"content-type": "x"}, "cannot be replaced"),
        ({"Transfer-Encoding": "chunked"}, "cannot be replaced"),
        ({"webhook-signature": "v1,x"}, "cannot be replaced"),
        ({"Proxy-Authorization": "x"}, "cannot be replaced"),
        ({"TE": "x"}, "cannot be replaced"),
        ({"user-agent": "x"}, "cannot be replaced"),
        ({"x-a": "1\r\nx-b: 2"}, "header value"),
        ({"x-a": "é"}, "header value"),
        ({"x-a": "x" * 1025}, "header value"),
        ({"x-a": "x\n"}, "header value"),
    ],
)
def test_headers_refused(headers: dict[str, str], part: str) -> None:
    """These headers could change how the request is framed, routed or verified."""
    (field_error,) = header_errors(headers)
    assert part in field_error.message
    assert field_error.path.startswith("headers.")


def test_headers_accepted() -> None:
    """Names that only begin like a reserved one are free, and so is the receiver's own authorization."""
    assert not list(header_errors({"Authorization": "Bearer x y", "X-Host": "", "tea": "x" * 1024, "hostname": "~"}))
    many = {f"x-{number}": "x" for number in range(MAX_HEADERS)}
    assert not list(header_errors(many))
    assert [field_error.path for field_error in header_errors({**many, "x-more": "x"})] == ["headers"]


statuses = st.sampled_from([None, 301, 400, 410, 429, 500, 503])
retry_afters = st.one_of(st.none(), st.sampled_from(["0", "7200", "9" * 64, "-1"]), st.text(max_size=64))
uniforms = st.floats(0, 1)


class DeliveryMachine(RuleBasedStateMachine):
    """One endpoint's delivery through attempts of any kind, people's redeliveries and long outages."""

    @initialize(schedule=st.lists(st.integers(0, 36_000), max_size=4))
    def start(self, schedule: list[int]) -> None:
        self.schedule, self.now = schedule, T0
        self.delivery, self.health = WAITING, Health()
        self.attempts = self.since_restart = 0

    @rule(seconds=st.integers(0, 200_000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(outcome=st.sampled_from(AttemptOutcome), status=statuses, retry_after=retry_afters, uniform=uniforms)
    def attempt(self, outcome: AttemptOutcome, status: int | None, retry_after: str | None, uniform: float) -> None:
        if self.delivery.status is not DeliveryStatus.PENDING:
            return
        success = outcome is AttemptOutcome.SUCCEEDED
        made = Attempt(outcome, self.now, 1, 200 if success else status, None if success else "bad", None, retry_after)
        self.attempts += 1
        self.since_restart += 1
        before, self.delivery_before = self.health, self.delivery
        self.delivery, self.health = after_attempt(self.delivery, made, self.health, self.schedule, self.now, uniform)
        assert success is (self.delivery.status is DeliveryStatus.DELIVERED)
        assert before.enabled or not self.health.enabled, "an attempt never enables"
        assert (self.health.failing_since is None) is success

    @rule()
    def redeliver(self) -> None:
        self.delivery = restart(self.now, self.delivery.attempts)
        self.since_restart = 0

    @rule()
    def enable(self) -> None:
        self.health = Health()

    @invariant()
    def attempts_are_counted_and_bounded(self) -> None:
        assert self.delivery.attempts == self.attempts
        assert self.since_restart <= len(self.schedule) + 1

    @invariant()
    def completed_means_not_pending(self) -> None:
        assert (self.delivery.status is DeliveryStatus.PENDING) is (self.delivery.completed_at is None)

    @invariant()
    def a_delivery_that_waits_for_a_retry_waits_no_longer_than_it_may(self) -> None:
        if self.delivery.status is DeliveryStatus.PENDING and self.delivery.retry:
            longest = max(1.2 * self.schedule[self.delivery.retry - 1], MAX_RETRY_AFTER)
            assert self.delivery.due_at <= self.now + timedelta(seconds=longest)
            assert self.delivery.last_error == "bad"

    @invariant()
    def a_reason_means_disabled(self) -> None:
        assert self.health.enabled is (self.health.disabled_reason is None)


DeliveryMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=15, deadline=None, database=None)
TestDeliveryMachine = DeliveryMachine.TestCase


@given(statuses, st.sampled_from(FAILURES), st.integers(0, 4), uniforms)
@settings(database=None, deadline=None)
def test_a_failure_is_never_lost(status: int | None, outcome: AttemptOutcome, retry: int, uniform: float) -> None:
    """It is counted, its error is kept, and the delivery is either due later or exhausted."""
    before = replace(WAITING, retry=retry)
    after, health = after_attempt(before, an_attempt(outcome, status), Health(), SCHEDULE, T0, uniform)
    assert (after.attempts, after.last_error) == (1, f"it {outcome}")
    assert after.status is DeliveryStatus.EXHAUSTED or after.due_at > T0
    assert health.failing_since == T0


def test_every_status_is_reached() -> None:
    """The table of statuses has no state without a way in."""
    ends = {
        after_attempt(replace(WAITING, retry=retry), an_attempt(outcome), Health(), SCHEDULE, T0, 0.5)[0].status
        for outcome, retry in product(AttemptOutcome, (0, len(SCHEDULE)))
    }
    assert ends == set(DeliveryStatus)
