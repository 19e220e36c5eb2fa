"""Cases of the OpenAI Agents adapter in one process, against a fake server. `test_cases.py` runs them."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sagahold
from agents import Agent, Runner, RunState, function_tool, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from sagahold.adapters.openai_agents import request_approvals, resume
from sagahold.testing import FakeApprover

ran: list[tuple[str, int]] = []
set_tracing_disabled(True)


@pytest.fixture
def approver() -> Iterator[FakeApprover]:
    ran.clear()
    with FakeApprover() as active:
        yield active


def act(order: str, cents: int) -> str:
    """Refund an order."""
    ran.append((order, cents))
    if cents < 0:
        raise ValueError("the bank is closed")
    return f"refunded {cents}"


def saved(*calls: Any, raises: bool = False) -> tuple[Any, str]:
    """Return the agent and the saved state of a run that waits."""

    def think(call: Any) -> Any:
        results = [str(item["output"]) for item in call.input if isinstance(item, dict) and "output" in item]
        return [assistant_message(" | ".join(results))] if results else list(calls)

    options: Any = {"failure_error_function": None} if raises else {}
    refund = function_tool(act, name_override="refund", needs_approval=True, **options)
    agent = Agent("refunds", tools=[refund], model=ScriptedModel([ModelStep.respond(think)] * 9))
    return agent, Runner.run_sync(agent, "Refund.").to_state().to_string()


def call(cents: Any = 5, number: int = 1) -> Any:
    return function_call("refund", {"order": "A-1", "cents": cents}, call_id=f"call-{number}")


def loaded(agent: Any, text: str) -> Any:
    return asyncio.run(RunState.from_string(agent, text))


def resumed(agent: Any, text: str) -> str:
    state = loaded(agent, text)
    request_approvals(state, thread="7")
    return str(resume(agent, state, thread="7").final_output)


def statuses(approver: FakeApprover) -> list[str | None]:
    return [pause.outcome and pause.outcome.status for pause in approver.pauses]


def test_two_calls_and_their_outcomes(approver: FakeApprover) -> None:
    approver.approve()
    approver.reject("paid twice")
    agent, text = saved(call(5, 1), call(6, 2))
    printed = resumed(agent, text)
    assert ran == [("A-1", 5)]
    assert "refunded 5" in printed
    assert "was rejected by fake-approver: paid twice" in printed
    assert statuses(approver) == ["succeeded", None]
    assert approver.requests[0]["metadata"] == {
        "door": "openai-agents",
        "client": {
            "framework": "openai-agents",
            "version": "0.24.0",
            "tool": "refund",
            "thread": "7",
            "call": "call-1",
        },
    }
    assert "and succeeded. It does not run again" in resumed(agent, text)
    assert ran == [("A-1", 5)]


def test_an_edit_is_a_rejection_with_the_new_arguments(approver: FakeApprover) -> None:
    approver.edit(cents=4)
    agent, text = saved(call())
    assert 'approved other arguments: {"cents":4,"order":"A-1"}' in resumed(agent, text)
    assert ran == []
    assert approver.pauses[0].consumed_at is None


@pytest.mark.parametrize(
    ("decision", "reason"),
    [("expire", "in time"), ("cancel", "was cancelled"), ("approve_too_early", "was valid only until")],
)
def test_no_approval_is_a_rejection(approver: FakeApprover, decision: str, reason: str) -> None:
    getattr(approver, decision)()
    assert reason in resumed(*saved(call()))
    assert ran == []


def test_a_tool_that_fails(approver: FakeApprover) -> None:
    assert "An error occurred while running the tool" in resumed(*saved(call(-1)))
    assert statuses(approver) == ["failed"]


def test_a_tool_that_raises(approver: FakeApprover) -> None:
    agent, text = saved(call(-1), raises=True)
    with pytest.raises(Exception, match="the bank is closed"):
        resumed(agent, text)
    assert statuses(approver) == ["unknown"]
    assert "was reported as unknown" in resumed(agent, text)
    assert len(ran) == 1


@pytest.mark.parametrize(("cents", "other"), [(5, 999), (1, True)])
@pytest.mark.parametrize(
    "places", [("current_step", "last_processed_response"), ("current_step",), ("last_processed_response",)]
)
def test_a_changed_state_runs_nothing(approver: FakeApprover, places: tuple[str, ...], cents: int, other: int) -> None:
    changed = json.dumps({"order": "A-1", "cents": other})
    agent, text = saved(call(cents))
    request_approvals(loaded(agent, text), thread="7")
    document = json.loads(text)
    if "current_step" in places:
        document["current_step"]["data"]["interruptions"][0]["raw_item"]["arguments"] = changed
    if "last_processed_response" in places:
        document["last_processed_response"]["functions"][0]["tool_call"]["arguments"] = changed
    with pytest.raises(sagahold.ArgumentsChanged, match="Nothing runs"):
        resume(agent, loaded(agent, json.dumps(document)), thread="7")
    assert ran == []
    assert approver.pauses[0].consumed_at is None


def test_nothing_was_requested(approver: FakeApprover) -> None:
    agent, text = saved(call())
    with pytest.raises(sagahold.SagaholdError, match="call request_approvals first"):
        resume(agent, loaded(agent, text), thread="7")
    assert ran == []


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"a": NaN}'])
def test_arguments_that_are_no_json(approver: FakeApprover, arguments: str) -> None:
    agent, text = saved(call())
    state = loaded(agent, text.replace(json.dumps('{"order":"A-1","cents":5}'), json.dumps(arguments)))
    with pytest.raises(TypeError, match="the arguments of refund are not"):
        request_approvals(state, thread="7")
    assert approver.requests == []
