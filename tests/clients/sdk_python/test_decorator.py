"""`@require_approval` with the `FakeApprover`: what is asked, what runs, and what is reported."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sagahold
from sagahold import require_approval
from sagahold.protocol import Answer
from sagahold.testing import FakeApprover

Call = Callable[..., Any]


@pytest.fixture
def approver() -> Iterator[FakeApprover]:
    with FakeApprover() as active:
        yield active


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture(params=["function", "coroutine"])
def refund(request: pytest.FixtureRequest, ran: list[Any]) -> Call:
    """A held function of either kind, called alike. A negative amount is a failure of the bank."""
    held = require_approval(action="Refund {cents} for {order}", key=lambda order, **_: order)

    def pay(order: str, cents: int = 500, *, note: str | None = None) -> int:
        if cents < 0:
            raise ConnectionError("the bank is closed")
        ran.append((order, cents, note))
        return cents

    if request.param == "function":
        return held(pay)

    async def pay_later(order: str, cents: int = 500, *, note: str | None = None) -> int:
        await asyncio.sleep(0)
        return pay(order, cents, note=note)

    waits = held(pay_later)
    return lambda *args, **kwargs: asyncio.run(waits(*args, **kwargs))  # type: ignore[arg-type]


def test_an_approved_call_runs_once_and_is_reported(approver: FakeApprover, refund: Call, ran: list[Any]) -> None:
    assert refund("A-1", note="late") == 500
    assert ran == [("A-1", 500, "late")]
    (pause,) = approver.pauses
    assert (pause.action, pause.arguments) == ("Refund 500 for A-1", {"order": "A-1", "cents": 500, "note": "late"})
    assert pause.outcome is not None
    assert (pause.outcome.status, pause.outcome.note) == ("succeeded", None)
    assert pause.document["metadata"]["door"] == "python-sdk"
    with pytest.raises(sagahold.AlreadyUsed, match=r"was run at .* and succeeded") as raised:
        refund("A-1", note="late")
    assert raised.value.outcome == pause.outcome
    assert len(ran) == len(approver.pauses) == 1


def test_an_edit_runs_instead(approver: FakeApprover, refund: Call, ran: list[Any]) -> None:
    approver.edit("less", cents=499)
    assert refund("A-1", 12_900) == 499
    assert ran == [("A-1", 499, None)]


@pytest.mark.parametrize(
    ("decide", "error", "words"),
    [
        (lambda a: a.reject("not today"), sagahold.Rejected, "rejected by fake-approver: not today. Do not run it"),
        (lambda a: a.expire(), sagahold.Expired, "did not get a decision in time"),
        (lambda a: a.cancel(), sagahold.Cancelled, "was cancelled"),
        (lambda a: a.approve_too_early(), sagahold.ApprovalExpired, "was valid only until 2026-01-01"),
    ],
)
def test_without_a_usable_approval_nothing_runs(
    approver: FakeApprover, refund: Call, ran: list[Any], decide: Call, error: type[Exception], words: str
) -> None:
    decide(approver)
    for _ in range(2):  # a key names one decision
        with pytest.raises(error, match=words) as raised:
            refund("A-1")
        assert isinstance(raised.value, sagahold.NotApproved)
        assert raised.value.pause is not None
        assert raised.value.decision is not None
        assert raised.value.pause.review_url in str(raised.value)
    assert ran == []
    assert refund("A-2") == 500  # the next one, which is approved


def test_a_failure_is_reported_and_raised(approver: FakeApprover, refund: Call) -> None:
    with pytest.raises(ConnectionError, match="the bank is closed"):
        refund("A-1", -1)
    (pause,) = approver.pauses
    assert pause.outcome is not None
    assert (pause.outcome.status, pause.outcome.note) == ("failed", "ConnectionError: the bank is closed")
    with pytest.raises(sagahold.AlreadyUsed, match=r"and failed\. It does not run again"):
        refund("A-1", -1)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ValueError("\x00\ud800" + "x" * 5000), "failed"),
        (TimeoutError("?"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
    ],
)
def test_how_an_end_is_reported(approver: FakeApprover, raised: BaseException, status: str) -> None:
    @require_approval(action="Call the bank", unknown_on=(TimeoutError,))
    def call() -> None:
        raise raised

    with pytest.raises(type(raised)):
        call()
    outcome = approver.pauses[0].outcome
    assert outcome is not None
    assert outcome.status == status
    assert outcome.note is not None
    assert outcome.note.startswith(f"{type(raised).__name__}: ")
    assert len(outcome.note) <= 1000
    assert "\x00" not in outcome.note


def test_a_cancelled_coroutine_reports_that_nobody_knows(approver: FakeApprover) -> None:
    started = asyncio.Event()

    @require_approval(action="Wait")
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait())  # type: ignore[arg-type]
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    outcome = approver.pauses[0].outcome
    assert outcome is not None
    assert outcome.status == "unknown"


def test_a_lost_report_does_not_lose_the_result(approver: FakeApprover, caplog: pytest.LogCaptureFixture) -> None:
    @require_approval(action="Cut the line", key="x")
    def cut() -> str:
        approver.disconnect(1000)
        return "done"

    assert cut() == "done"
    assert "the outcome succeeded of wch_" in caplog.text
    approver.disconnect(0)
    with pytest.raises(
        sagahold.AlreadyUsed, match=r"its result is unknown.*Find out whether the action took"
    ) as raised:
        cut()
    assert raised.value.outcome is None


def test_an_outage_is_waited_out(approver: FakeApprover, refund: Call) -> None:
    approver.disconnect(5)
    assert refund("A-1") == 500


def test_a_server_that_stays_away(approver: FakeApprover, refund: Call, ran: list[Any]) -> None:
    approver.disconnect(1000)
    with pytest.raises(sagahold.NotReachable, match="check SAGAHOLD_URL"):
        refund("A-1")
    assert ran == approver.pauses == []


def test_two_intended_calls_are_two_pauses(approver: FakeApprover, ran: list[Any]) -> None:
    @require_approval(action="Refund {order}")
    def refund(order: str) -> None:
        ran.append(order)

    refund("A-1")
    refund("A-1")
    assert ran == ["A-1", "A-1"]
    assert len(approver.pauses) == 2


def test_a_run_finds_its_first_and_second_call_again(
    approver: FakeApprover, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAHOLD_RUN_ID", "job-7")

    @require_approval(action="Refund {order}")
    def refund(order: str) -> None:
        ran.append(order)

    approver.approve()
    approver.reject()
    refund("A-1")
    with pytest.raises(sagahold.Rejected):
        refund("A-1")
    sagahold.approval._calls.clear()  # as a new process has it
    with pytest.raises(sagahold.AlreadyUsed):
        refund("A-1")
    with pytest.raises(sagahold.Rejected):
        refund("A-1")
    assert ran == ["A-1"]
    monkeypatch.setenv("SAGAHOLD_RUN_ID", "job-8")
    sagahold.approval._calls.clear()
    refund("A-1")
    assert len(approver.pauses) == 3


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_call_that_got_no_answer_keeps_its_number(
    approver: FakeApprover, ran: list[Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The request may have arrived. Another number would make a second pause, and a restart would run the first one."""
    monkeypatch.setenv("SAGAHOLD_RUN_ID", f"job-{kind}")
    held = require_approval(action="Refund {order}")
    if kind == "function":

        @held
        def refund(order: str) -> None:
            ran.append(order)

    else:

        async def later(order: str) -> None:
            ran.append(order)

        waits = held(later)

        def refund(order: str) -> None:
            asyncio.run(waits(order))  # type: ignore[arg-type]

    def lose(call: Any) -> Any:
        if call.method == "POST":
            answer(call)
        return Answer(0, b"the answer is lost")

    answer = approver.answer
    with monkeypatch.context() as lost:
        lost.setattr(approver, "answer", lose)
        with pytest.raises(sagahold.NotReachable):
            refund("A-1")
    refund("A-1")
    refund("A-1")
    assert len(approver.pauses) == 2
    sagahold.approval._calls.clear()  # as a new process has it
    for _ in range(2):
        with pytest.raises(sagahold.AlreadyUsed):
            refund("A-1")
    assert ran == ["A-1", "A-1"]


def test_a_key_counts_with_its_function_and_arguments(approver: FakeApprover) -> None:
    held = require_approval(action="Do it", key="nightly")

    @held
    def one(a: int) -> int:
        return a

    @held
    def other(a: int) -> int:
        return -a

    assert [one(1), one(2), other(1)] == [1, 2, -1]
    with pytest.raises(sagahold.AlreadyUsed):
        one(a=1)


def test_changed_code_does_not_use_an_approval_of_other_words(approver: FakeApprover, ran: list[Any]) -> None:
    def made(action: str) -> Call:
        @require_approval(action=action, key="x")
        def do() -> None:
            ran.append(action)

        return do

    made("Water the plants")()
    with pytest.raises(sagahold.UnexpectedResponse, match="asks for something else, “Water the plants”"):
        made("Burn the plants")()
    assert ran == ["Water the plants"]


@pytest.mark.parametrize("decided", [False, True, None, 0, "no"])
def test_only_false_lets_a_call_pass(approver: FakeApprover, ran: list[Any], decided: Any) -> None:
    @require_approval(action="Refund", when=lambda cents, **_: decided if cents else True)
    def refund(cents: int, order: str = "A-1") -> None:
        ran.append(cents)

    refund(5)
    assert (len(ran), len(approver.pauses)) == (1, 0 if decided is False else 1)


def test_arguments_of_every_kind_come_back(approver: FakeApprover, ran: list[Any]) -> None:
    @require_approval(action="Do it")
    def do(first: int, /, second: float, *rest: int, third: list[Any], fourth: Any = None, **more: str) -> None:
        ran.append((first, second, rest, third, fourth, more))

    do(1, 2.0, 3, 4, third=[{"a": None}], x="y")
    assert repr(ran.pop()) == "(1, 2.0, (3, 4), [{'a': None}], None, {'x': 'y'})"
    approver.edit(first=7, rest=[8], more={"z": "!"}, third=[])
    do(1, 2.0, 3, 4, third=[{"a": None}], x="y")
    assert ran == [(7, 2.0, (8,), [], None, {"z": "!"})]


def test_a_method_keeps_its_object(approver: FakeApprover) -> None:
    class Bank:
        def __init__(self) -> None:
            self.paid: list[int] = []

        @require_approval(action="Pay {cents}")
        def pay(self, cents: int) -> None:
            self.paid.append(cents)

        @classmethod
        @require_approval(action="Close")
        async def close(cls) -> str:
            return cls.__name__

    bank = Bank()
    approver.edit(cents=2)
    bank.pay(1)
    assert bank.paid == [2]
    assert asyncio.run(Bank.close()) == "Bank"
    assert [pause.arguments for pause in approver.pauses] == [{"cents": 2}, {}]


def test_what_runs_is_what_was_asked_not_what_it_became(ran: list[Any]) -> None:
    """The caller's list grows while a person decides."""
    items = ["a"]

    class Slow(FakeApprover):
        def answer(self, call: sagahold.protocol.Call) -> sagahold.protocol.Answer:
            items.append("b")
            return super().answer(call)

    @require_approval(action="Delete {items}")
    def delete(items: list[str]) -> None:
        ran.append(items)

    with Slow():
        delete(items)
    assert ran == [["a"]]
    assert items != ["a"]


def test_an_edit_keeps_the_type_of_an_integer(approver: FakeApprover, ran: list[Any]) -> None:
    """JSON does not tell 200.0 from 200, and JSON Schema accepts both as an integer."""

    @require_approval(action="Pay")
    def pay(cents: int, rate: float, more: Any) -> None:
        ran.append((cents, rate, more))

    approver.edit(cents=200.0, rate=2.0, more=[3.0])
    pay(1, 1.5, [])
    assert ran == [(200, 2.0, [3.0])]
    assert [type(value) for value in ran[0]] == [int, float, list]
    assert type(ran[0][2][0]) is float


@pytest.mark.parametrize("edit", [{"extra": 1}, {"cents": "many"}, {"more": {"cents": 2}}])
def test_an_edit_that_does_not_fit_runs_nothing(approver: FakeApprover, ran: list[Any], edit: dict[str, Any]) -> None:
    """The server refuses the first two by the schema that the SDK sends; this reviewer has none."""

    @require_approval(action="Pay")
    def pay(cents: int, **more: int) -> None:
        ran.append(cents)

    approver.edit(**edit)
    schema = {
        "type": "object",
        "properties": {"cents": {"type": "integer"}, "more": {"type": "object"}},
        "required": ["cents", "more"],
        "additionalProperties": False,
    }
    if edit == {"cents": "many"}:
        pay(1)
        assert ran.pop() == "many"  # only the server checks types
    else:
        with pytest.raises(sagahold.UnexpectedResponse, match=r"do not fit .*pay: .* Nothing runs"):
            pay(1)
    assert ran == []
    assert approver.pauses[0].outcome is None or edit == {"cents": "many"}
    assert schema == approver.requests[0]["argumentsSchema"]


@pytest.mark.parametrize(
    ("value", "words"),
    [((1,), "argument a is a tuple"), (object(), "argument a is a object"), (2**60, "beyond 2\\^53-1")],
)
def test_arguments_that_are_not_json_are_refused_first(approver: FakeApprover, value: Any, words: str) -> None:
    @require_approval(action="Do {a}")
    def do(a: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=words):
        do(value)
    assert approver.pauses == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "Pay {sum}"}, "names 'sum', which is not in its arguments"),
        ({"action": "Pay", "key": lambda **_: None}, "the key of .*pay is None"),
        ({"action": "Pay", "key": ""}, "the key of .*pay is ''"),
    ],
)
def test_mistakes_of_the_decorator(approver: FakeApprover, options: dict[str, Any], words: str) -> None:
    @require_approval(**options)
    def pay(cents: int) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=words):
        pay(1)
    with pytest.raises(TypeError):
        pay()  # type: ignore[call-arg]
    assert approver.pauses == []


def test_what_cannot_be_held() -> None:
    def parts() -> Iterator[int]:
        yield 1

    async def later() -> None: ...

    def now() -> None: ...

    held = require_approval(action="x")
    with pytest.raises(TypeError, match="is a generator"):
        held(parts)
    with pytest.raises(TypeError, match="pass an AsyncClient"):
        require_approval(action="x", client=sagahold.Client("http://127.0.0.1:1"))(later)
    with pytest.raises(TypeError, match="pass a Client"):
        require_approval(action="x", client=sagahold.AsyncClient("http://127.0.0.1:1"))(now)


def test_an_awaitable_of_a_plain_function_is_no_success(approver: FakeApprover) -> None:
    """A task or a future may already act, so the outcome is not a failure either."""

    async def later() -> None: ...

    held = require_approval(action="x")(lambda: later())
    with pytest.raises(TypeError, match="decorate the coroutine function itself"):
        held()
    outcome = approver.pauses[0].outcome
    assert outcome is not None
    assert outcome.status == "unknown"


def test_the_options_reach_the_server(approver: FakeApprover) -> None:
    policy = {"approvals": 2}

    @require_approval(
        action=lambda a: f"Do {a}" + "x" * 600, review=policy, valid_for=None, expires_in=timedelta(days=1)
    )
    def do(a: str) -> str:
        """Do it."""
        return a

    @require_approval(action="x")
    def plain() -> None: ...

    do("it")
    plain()
    first, second = approver.requests
    assert (first["review"], first["approvalValidFor"], first["expiresIn"]) == (policy, None, 86_400)
    assert len(first["action"]) == 500
    assert (second.get("review"), second["approvalValidFor"], "expiresIn" in second) == (None, 900, False)
    assert do.__doc__ == "Do it."
    assert list(inspect.signature(do).parameters) == ["a"]


def test_empty_arguments_are_what_was_posted(approver: FakeApprover) -> None:
    approver.edit(force=True)
    pause = sagahold.Client().request("Deploy", arguments={})
    assert (pause.posted_arguments, pause.arguments) == ({}, {"force": True})


def test_a_client_talks_to_the_fake_too(approver: FakeApprover) -> None:
    approver.reject("no")
    approver.approve("yes")
    with sagahold.Client() as client:
        refused, used = (client.request("Deploy", arguments={"v": n}) for n in (1, 2))
        assert client.wait(refused).status == "rejected"
        with pytest.raises(sagahold.Rejected):
            client.consume(refused)
        with pytest.raises(sagahold.RequestError) as raised:
            client.outcome(used, "succeeded")
        assert (raised.value.status, raised.value.code) == (409, "NOT_CONSUMED")
        client.consume(used)
        client.outcome(used, "succeeded", result={"id": 1})
        assert [pause.watch_id for pause in client.list(status="approved", consumed=True)] == [used.watch_id]
        assert list(client.list(consumed=False, status="approved")) == []
