"""A parked request runs again: once for each reason, at its deadline, and never after its response."""

import threading
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from adapters.redis.pubsub import ChangeSubscriber
from app.http.parking import LATE, THREADS, WAIT, Parked, Parking, Wait
from cli.devstack.waiting import wait_until

GET = {"REQUEST_METHOD": "GET"}
SECONDS = 90.0


class Requests:
    """An application: it parks each request until `done` says otherwise."""

    def __init__(self, parking: Parking, seconds: float = 600) -> None:
        self.subscriber = ChangeSubscriber(cast(Any, None), lambda ids: [])
        self.runs = 0
        self.done: Callable[[Wait], bool] = lambda wait: False
        self.answered = threading.Event()
        self.answers: list[str] = []
        self.id = uuid4()
        self._seconds = seconds
        self._serve = parking.around(self._run)

    def _run(self, protocol: Any, scope: dict[str, Any]) -> str:
        wait: Wait = scope[WAIT]
        wait.join(self.subscriber, [self.id, self.id], "key", self._seconds)
        self.runs += 1
        if not self.done(wait):
            raise Parked
        wait.answer()
        self.answers.append("late" if LATE in scope else "in time")
        self.answered.set()
        return "answer"

    def get(self) -> str | None:
        return cast("str | None", self._serve(None, dict(GET)))

    def wake(self, id_: UUID | None = None) -> None:
        self.subscriber._wake([id_ or self.id])


@pytest.fixture
def requests() -> Requests:
    return Requests(Parking())


def test_a_request_that_need_not_wait_is_answered_in_its_own_thread(requests: Requests) -> None:
    requests.done = lambda wait: True
    assert requests.get() == "answer"
    assert (requests.runs, requests.subscriber.waiting) == (1, 0)


def test_a_change_of_its_pause_alone_runs_it_again(requests: Requests) -> None:
    assert requests.get() is None
    assert (requests.subscriber.waiting, requests.subscriber.in_threads) == (1, 0)
    requests.wake(uuid4())
    requests.done = lambda wait: True
    requests.wake()
    assert requests.answered.wait(SECONDS)
    assert wait_until(lambda: requests.subscriber.waiting == 0, SECONDS)
    requests.wake()
    assert requests.runs == 2


def test_a_change_during_a_run_is_not_missed(requests: Requests) -> None:
    """Between the read of the state and the parking."""

    def done(wait: Wait) -> bool:
        if requests.runs == 1:
            requests.wake()
        return requests.runs > 1

    requests.done = done
    assert requests.get() is None
    assert requests.answered.wait(SECONDS)


def test_it_runs_again_at_its_deadline() -> None:
    """Also when a later deadline was there first."""
    parking = Parking()
    late, soon = Requests(parking), Requests(parking, seconds=0.01)
    for each in (late, soon):
        each.done = lambda wait: wait.is_over
        assert each.get() is None
    assert soon.answered.wait(SECONDS)
    assert not late.answered.is_set()


def test_runs_that_hang_keep_no_request_waiting() -> None:
    """More requests than threads are refused at last. A run that goes on afterwards does not answer again."""
    requests, goes_on = Requests(Parking(late_after=0.05), seconds=0.01), threading.Event()
    hung, ended = [], []

    def done(wait: Wait) -> bool:
        name = threading.current_thread().name
        if name.startswith("parked-") and name != "parked-deadlines":
            hung.append(wait)
            goes_on.wait(SECONDS)
            ended.append(wait)
        return name.startswith("parked-")

    requests.done = done
    for _ in range(2 * THREADS):
        assert requests.get() is None
    assert wait_until(lambda: len(requests.answers) == 2 * THREADS, SECONDS)
    assert wait_until(lambda: requests.subscriber.waiting == 0, SECONDS)
    goes_on.set()
    assert wait_until(lambda: len(ended) == len(hung) > 0, SECONDS)
    requests.done = lambda wait: True
    assert requests.get() == "answer"
    assert requests.answers == [*["late"] * (2 * THREADS), "in time"]


def test_an_error_ends_the_wait_and_no_thread(requests: Requests, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2 * THREADS):
        requests.done = lambda wait: False
        requests.get()
        requests.done = lambda wait: 1 // 0 > 0
        requests.wake()
        assert wait_until(lambda: requests.subscriber.waiting == 0, SECONDS)
    # Written after the wait has ended.
    assert wait_until(lambda: caplog.text.count("a parked request failed") == 2 * THREADS, SECONDS)


@pytest.mark.parametrize(
    "scope", [{"REQUEST_METHOD": "POST"}, {"REQUEST_METHOD": "HEAD"}, GET | {"CONTENT_LENGTH": "2"}]
)
def test_what_may_not_run_twice_is_never_parked(scope: dict[str, str]) -> None:
    assert Parking().around(lambda protocol, given: WAIT in given)(None, dict(scope)) is False
