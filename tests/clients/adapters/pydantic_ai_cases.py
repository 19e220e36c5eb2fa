"""Cases of the Pydantic AI adapter in one process, against a fake server. `test_pydantic_ai.py` runs them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sagahold
from pydantic_ai import Agent, CallDeferred, DeferredToolRequests, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from sagahold.adapters.pydantic_ai import request_approvals, resume
from sagahold.testing import FakeApprover

ran: list[tuple[str, int]] = []


@pytest.fixture
def approver() -> Iterator[FakeApprover]:
    ran.clear()
    with FakeApprover() as active:
        yield active


def agent_with(*calls: ToolCallPart) -> Agent[None, Any]:
    def think(messages: Any, info: Any) -> ModelResponse:
        results = [str(part.content) for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        return ModelResponse(parts=[TextPart(" | ".join(results))] if results else list(calls))

    agent: Any = Agent(FunctionModel(think), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def refund(order: str, cents: int) -> str:
        ran.append((order, cents))
        if cents == 0:
            raise ModelRetry("zero is no amount")
        if cents < 0:
            raise ValueError("the bank is closed")
        return f"refunded {cents}"

    @agent.tool_plain
    def charge() -> str:
        raise CallDeferred

    return agent


def call(cents: Any = 5, number: int = 1) -> ToolCallPart:
    return ToolCallPart("refund", {"order": "A-1", "cents": cents}, f"call-{number}")


def asked(*calls: ToolCallPart) -> tuple[Agent[None, Any], list[Any], DeferredToolRequests]:
    agent = agent_with(*calls)
    result = agent.run_sync("Refund.")
    request_approvals(result.output, thread="7")
    return agent, result.all_messages(), result.output


def statuses(approver: FakeApprover) -> list[str | None]:
    return [pause.outcome and pause.outcome.status for pause in approver.pauses]


def test_two_calls_and_their_outcomes(approver: FakeApprover) -> None:
    approver.edit(cents=4)
    approver.reject("paid twice")
    turn = asked(call(5, 1), call(6, 2))
    request_approvals(turn[2], thread="7")
    printed = resume(*turn, thread="7").output
    assert ran == [("A-1", 4)]
    assert "refunded 4 | " in printed
    assert "was rejected by fake-approver: paid twice" in printed
    assert statuses(approver) == ["succeeded", None]
    assert approver.requests[0]["metadata"]["client"] == {
        "framework": "pydantic-ai-slim",
        "version": "2.66.0",
        "tool": "refund",
        "thread": "7",
        "call": "call-1",
    }
    again = resume(*turn, thread="7").output
    assert "and succeeded. It does not run again" in again
    assert ran == [("A-1", 4)]


@pytest.mark.parametrize(
    ("decision", "reason"),
    [("expire", "in time"), ("cancel", "was cancelled"), ("approve_too_early", "was valid only until")],
)
def test_no_approval_is_a_denial(approver: FakeApprover, decision: str, reason: str) -> None:
    getattr(approver, decision)()
    assert reason in resume(*asked(call()), thread="7").output
    assert ran == []


def test_a_tool_that_asks_for_a_retry(approver: FakeApprover) -> None:
    resume(*asked(call(0)), thread="7")
    assert statuses(approver) == ["failed"]


def test_an_edit_of_a_wrong_type(approver: FakeApprover) -> None:
    approver.edit(cents="many")
    resume(*asked(call()), thread="7")
    assert ran == []
    assert statuses(approver) == ["failed"]


def test_a_tool_that_raises(approver: FakeApprover) -> None:
    """The exception ends the run, and the messages do not say whose it was."""
    turn = asked(call(-1))
    with pytest.raises(ValueError, match="the bank is closed"):
        resume(*turn, thread="7")
    assert statuses(approver) == ["unknown"]
    assert "the bank is closed" in str(approver.pauses[0].outcome)
    assert "was reported as unknown" in resume(*turn, thread="7").output
    assert len(ran) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"args": {"order": "A-1", "cents": 999}},
        {"args": {"order": "A-1", "cents": True}},
        {"tool_name": "refund_all"},
        {"tool_call_id": "call-2"},
    ],
)
@pytest.mark.parametrize("where", ["messages", "requests", "both"])
def test_a_changed_state_runs_nothing(approver: FakeApprover, changed: dict[str, Any], where: str) -> None:
    agent, messages, requests = asked(call(1))
    other = replace(requests.approvals[0], **changed)
    if where != "requests":
        messages[-1] = replace(messages[-1], parts=[other])
    if where != "messages":
        requests = DeferredToolRequests(approvals=[other])
    error = sagahold.SagaholdError if "tool_call_id" in changed else sagahold.ArgumentsChanged
    with pytest.raises(error, match=r"Nothing runs|no approval was requested"):
        resume(agent, messages, requests, thread="7")
    assert ran == []
    assert approver.pauses[0].consumed_at is None


def test_an_older_saved_state_and_a_result_of_another_kind(approver: FakeApprover) -> None:
    agent, messages, requests = asked(call())
    with pytest.raises(sagahold.SagaholdError, match="call request_approvals first"):
        resume(agent, messages, requests, thread="8")
    with pytest.raises(TypeError, match="not DeferredToolRequests"):
        request_approvals("done", thread="7")  # type: ignore[arg-type]
    assert ran == []


def test_calls_that_are_executed_elsewhere(approver: FakeApprover) -> None:
    turn = asked(call(), ToolCallPart("charge", {}, "call-9"))
    for results in (None, {}, {"call-8": 1}, {"call-9": 1, "call-1": 2}):
        with pytest.raises(TypeError, match="a result for each call"):
            resume(*turn, thread="7", calls=results)
    assert resume(*turn, thread="7", calls={"call-9": "charged"}).output == "refunded 5 | charged"


def test_arguments_that_are_no_json(approver: FakeApprover) -> None:
    requests = DeferredToolRequests(approvals=[ToolCallPart("refund", "{", "call-1")])
    with pytest.raises(TypeError, match="the arguments of refund are not a JSON object"):
        request_approvals(requests, thread="7")
    assert approver.requests == []
