"""The SDK against the server: each decision, the digest of odd arguments, and two processes at once."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sagahold
from sagahold import require_approval

from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk

Call = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("environ")


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture(params=["function", "coroutine"])
def refund(request: pytest.FixtureRequest, ran: list[Any]) -> Call:
    held = require_approval(action="Refund {cents} for {order}", key=lambda order, **_: order, review={"approvals": 1})

    def pay(order: str, cents: int = 500) -> int:
        if cents < 0:
            raise ConnectionError("the bank is closed")
        ran.append((order, cents))
        return cents

    if request.param == "function":
        return held(pay)

    async def pay_later(order: str, cents: int = 500) -> int:
        return pay(order, cents)

    waits = held(pay_later)
    return lambda *args, **kwargs: asyncio.run(waits(*args, **kwargs))  # type: ignore[arg-type]


def started(function: Call, *args: Any, **kwargs: Any) -> "Future[Any]":
    """Call in another thread, as the reviewer decides in this one. If the test fails, nothing waits for that thread."""
    call: Future[Any] = Future()

    def run() -> None:
        try:
            call.set_result(function(*args, **kwargs))
        except BaseException as error:
            call.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return call


def test_approved(desk: Desk, client: sagahold.Client, refund: Call, ran: list[Any]) -> None:
    call = started(refund, "A-1")
    (pending,) = desk.pending()
    assert pending["agentContext"]["arguments"] == {"order": "A-1", "cents": 500}
    assert (pending["approvalValidFor"], pending["metadata"]["door"]) == (900, "python-sdk")
    watch_id = desk.decide("approve", comment="fine")
    assert call.result(WITHIN) == 500
    assert ran == [("A-1", 500)]
    pause = client.get(watch_id)
    assert pause.outcome is not None
    assert (pause.outcome.status, pause.outcome.note) == ("succeeded", None)
    with pytest.raises(sagahold.AlreadyUsed, match=r"was run at .* and succeeded") as raised:
        started(refund, "A-1").result(WITHIN)
    assert raised.value.outcome == pause.outcome
    assert len(ran) == len(desk.all()) == 1


def test_edited(desk: Desk, client: sagahold.Client, refund: Call, ran: list[Any]) -> None:
    call = started(refund, "A-1", 12_900)
    (pending,) = desk.pending()
    for wrong in ({"order": "A-1"}, {"order": "A-1", "cents": "1"}, {"order": "A-1", "cents": 1, "to": "me"}):
        refused = desk.http.post(f"/api/pause/{pending['watchId']}/approve", json={"arguments": wrong})
        assert refused.status_code == 422, refused.text
    watch_id = desk.decide("approve", arguments={"order": "A-1", "cents": 9_900}, comment="not late", revision=1)
    assert call.result(WITHIN) == 9_900
    assert ran == [("A-1", 9_900)]
    pause = client.get(watch_id)
    assert pause.posted_arguments == {"order": "A-1", "cents": 12_900}
    with pytest.raises(sagahold.AlreadyUsed):  # the original arguments find the pause
        started(refund, "A-1", 12_900).result(WITHIN)
    assert len(ran) == 1


def test_rejected(desk: Desk, refund: Call, ran: list[Any]) -> None:
    call = started(refund, "A-1")
    desk.decide("reject", comment="not today")
    with pytest.raises(sagahold.Rejected, match="was rejected by test reviewer: not today") as raised:
        call.result(WITHIN)
    assert raised.value.decision is not None
    assert raised.value.decision.comment == "not today"
    with pytest.raises(sagahold.Rejected):
        started(refund, "A-1").result(WITHIN)
    assert ran == []


def test_cancelled(desk: Desk, client: sagahold.Client, refund: Call, ran: list[Any]) -> None:
    call = started(refund, "A-1")
    (pending,) = desk.pending()
    client.cancel(pending["watchId"], "no longer needed")
    with pytest.raises(sagahold.Cancelled):
        call.result(WITHIN)
    assert ran == []


def test_expired(desk: Desk, ran: list[Any]) -> None:
    @require_approval(action="Refund", expires_in=1)
    def refund() -> None:
        ran.append(1)

    with pytest.raises(sagahold.Expired, match="did not get a decision in time"):
        started(refund).result(WITHIN)
    assert ran == []


def test_an_approval_that_was_not_used_in_time(desk: Desk, client: sagahold.Client, ran: list[Any]) -> None:
    @require_approval(action="Refund {order}", key="k", valid_for=1)
    def refund(order: str) -> None:
        ran.append(order)

    class Died(Exception):
        pass

    class Dies(sagahold.Client):
        def _send(self, call: sagahold.protocol.Call) -> sagahold.protocol.Answer:
            if call.path.endswith("/consume"):
                raise Died
            return super()._send(call)

    with Dies(desk.url, desk.agent_key) as dying:
        held = require_approval(action="Refund {order}", key="k", valid_for=1, client=dying)(refund.__wrapped__)  # type: ignore[attr-defined]
        call = started(held, "A-1")
        watch_id = desk.decide("approve")
        with pytest.raises(Died):
            call.result(WITHIN)
    decision = client.get(watch_id).decision
    assert decision is not None
    assert decision.valid_until is not None
    until = datetime.fromisoformat(decision.valid_until)
    assert wait_until(lambda: datetime.now(UTC) > until, WITHIN)
    with pytest.raises(sagahold.ApprovalExpired, match=f"valid only until {decision.valid_until}"):
        started(refund, "A-1").result(WITHIN)
    assert ran == []


def test_a_failure(desk: Desk, client: sagahold.Client, refund: Call) -> None:
    call = started(refund, "A-1", -5)
    watch_id = desk.decide("approve")
    with pytest.raises(ConnectionError, match="the bank is closed"):
        call.result(WITHIN)
    outcome = client.get(watch_id).outcome
    assert outcome is not None
    assert (outcome.status, outcome.note) == ("failed", "ConnectionError: the bank is closed")


def test_a_long_note_of_odd_characters_is_reported(desk: Desk, client: sagahold.Client) -> None:
    @require_approval(action="Fail")
    def fail() -> None:
        raise ValueError("\x00\ud800" + "😀" * 5000)

    call = started(fail)
    watch_id = desk.decide("approve")
    with pytest.raises(ValueError, match="😀"):
        call.result(WITHIN)
    outcome = client.get(watch_id).outcome
    assert outcome is not None
    assert outcome.status == "failed"


ODD = {
    "floats": [1e22, 1e21, 0.1, -0.0, 5e-324, 1.7976931348623157e308, 100.0, 1e-7, 123456789012345680000.0],
    "integers": [0, -1, 2**53 - 1, -(2**53) + 1],
    "texts": ["é€😀", "\u2028\u2029", "\x01\x1f\x7f", '"\\/', "\ufeff", "דּ"],
    "names": {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7, "": 8},
    "nested": {"a": [[], {}, [None, True, False, {"b": [1.5]}]]},
}


def test_odd_arguments_have_the_digest_of_the_server(desk: Desk, ran: list[Any]) -> None:
    @require_approval(action="Do it")
    def do(value: Any, other: int = 1) -> None:
        ran.append((value, other))

    call = started(do, ODD)
    desk.decide("approve")
    call.result(WITHIN)
    assert repr(ran.pop()) == repr((ODD, 1))
    call = started(do, ODD)
    desk.decide("approve", arguments={"value": ODD, "other": 2})  # these come from the server
    call.result(WITHIN)
    assert ran == [(ODD, 2)]


def test_of_two_processes_with_one_key_one_runs(desk: Desk, ran: list[Any]) -> None:
    both = threading.Barrier(2)

    class Meets(sagahold.Client):
        def _send(self, call: sagahold.protocol.Call) -> sagahold.protocol.Answer:
            if call.path.endswith("/consume"):
                both.wait(WITHIN)
            return super()._send(call)

    def process() -> None:
        with Meets(desk.url, desk.agent_key) as client:

            @require_approval(action="Refund", key="k", client=client)
            def refund() -> None:
                ran.append(1)

            refund()

    calls = [started(process) for _ in range(2)]
    desk.decide("approve")
    errors = [call.exception(WITHIN) for call in calls]
    assert sorted(type(error).__name__ for error in errors) == ["AlreadyUsed", "NoneType"]
    assert ran == [1]
    assert len(desk.all()) == 1


def test_a_key_that_the_server_forgot_still_finds_its_pause(
    desk: Desk, refund: Call, ran: list[Any], stack_database: Any, namespace: str
) -> None:
    """The server keeps an Idempotency-Key for a day after the decision."""
    call = started(refund, "A-1")
    desk.decide("approve")
    call.result(WITHIN)
    with stack_database.transaction() as uow:
        uow.conn.exec_driver_sql("DELETE FROM idempotency_keys WHERE namespace = %s", (namespace,))
    with pytest.raises(sagahold.AlreadyUsed):
        started(refund, "A-1").result(WITHIN)
    assert len(ran) == len(desk.all()) == 1


def test_each_step_by_itself(desk: Desk, client: sagahold.Client) -> None:
    made = client.request(
        "Deploy", arguments={"v": 1}, context={"why": "x"}, priority=3, key="step-by-step", tags=["a"]
    )
    assert client.request(
        "Deploy", arguments={"v": 1}, context={"why": "x"}, priority=3, key="step-by-step", tags=["a"]
    )
    with pytest.raises(sagahold.RequestError) as reused:
        client.request("Deploy", arguments={"v": 2}, key="step-by-step")
    assert (reused.value.status, reused.value.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    with pytest.raises(sagahold.StillPending):
        client.wait(made, timeout=0)
    with pytest.raises(sagahold.StillPending):
        client.consume(made)
    events = client.events(made)
    assert next(events).type == "pause.created"
    desk.decide("approve")
    assert [event.type for event in events] == ["pause.approved"]
    pause = client.wait(made)
    with pytest.raises(sagahold.RequestError) as early:
        client.outcome(pause, "succeeded")
    assert early.value.code == "NOT_CONSUMED"
    assert [found.watch_id for found in client.list(consumed=False, status="approved", limit=1)] == [made.watch_id]
    used = client.consume(pause)
    with pytest.raises(sagahold.AlreadyUsed):
        client.consume(pause)
    done = client.outcome(used, "unknown", "no answer", {"tries": 3})
    assert done == client.outcome(used, "unknown", "no answer", {"tries": 3}) == client.get(made.watch_id)
    assert done.outcome is not None
    assert done.outcome.result == {"tries": 3}
    with pytest.raises(sagahold.RequestError) as other:
        client.outcome(used, "failed")
    assert other.value.code == "OUTCOME_CONFLICT"
    assert list(client.list(consumed=False, status="approved")) == []


def test_each_step_as_a_coroutine(desk: Desk) -> None:
    async def main() -> None:
        async with sagahold.AsyncClient(desk.url, desk.agent_key) as client:
            made = await client.request("Deploy", arguments={"v": 1}, expires_in=None, valid_for=60)
            events = client.events(made)
            assert (await anext(events)).type == "pause.created"
            await asyncio.to_thread(desk.decide, "approve")
            assert [event.type async for event in events] == ["pause.approved"]
            pause = await client.wait(made, timeout=WITHIN)
            assert [found.watch_id async for found in client.list(limit=1)] == [made.watch_id]
            await client.consume(pause)
            done = await client.outcome(pause, "succeeded")
            assert done == await client.get(pause)
            with pytest.raises(sagahold.RequestError):
                await client.cancel(pause)

    asyncio.run(main())


def test_a_list_of_several_pages(desk: Desk, client: sagahold.Client) -> None:
    made = [client.request(f"Deploy {n}").watch_id for n in range(5)]
    assert [pause.watch_id for pause in client.list(limit=2)] == made[::-1]


@pytest.mark.parametrize(("key", "status"), [("hitl_wrong", 401), ("reviewer", 403)])
def test_a_key_that_may_not_ask(
    desk: Desk, ran: list[Any], monkeypatch: pytest.MonkeyPatch, key: str, status: int
) -> None:
    own = desk.http.headers["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("SAGAHOLD_API_KEY", own if key == "reviewer" else key)

    @require_approval(action="Refund")
    def refund() -> None:
        ran.append(1)

    with pytest.raises(sagahold.RequestError) as raised:
        started(refund).result(WITHIN)
    assert raised.value.status == status
    assert ran == []


def test_an_agent_that_sees_other_pauses_uses_none(desk: Desk, client: sagahold.Client, client_for: Call) -> None:
    other: httpx.Client = client_for("agent")
    made = other.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    with pytest.raises(sagahold.RequestError) as raised:
        client.get(made)
    assert raised.value.status == 404
