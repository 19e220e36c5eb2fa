"""Cases of the LangGraph adapter in one process, against a fake server. `test_langgraph.py` runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
import sagahold
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Interrupt, interrupt
from sagahold.adapters import Options
from sagahold.adapters.langgraph import request_approvals, resume
from sagahold.testing import FakeApprover

CONFIG: Any = {"configurable": {"thread_id": "7"}}
ran: list[tuple[str, int]] = []


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **options: Any) -> "Model":
        return self


@tool
def refund(order: str, cents: int) -> str:
    """Refund an order."""
    ran.append((order, cents))
    return f"refunded {cents}"


@pytest.fixture
def approver() -> Iterator[FakeApprover]:
    ran.clear()
    with FakeApprover() as active:
        yield active


def call(number: int = 1, **args: Any) -> dict[str, Any]:
    return {"name": "refund", "args": {"order": "A-1", "cents": 5} | args, "id": f"call-{number}"}


def started(*calls: dict[str, Any], allowed: Any = True, mode: Any = "batched", saver: Any = None) -> Any:
    model = Model(messages=iter([AIMessage("", tool_calls=list(calls)), AIMessage("done")]))
    middleware: Any = HumanInTheLoopMiddleware({"refund": allowed}, interrupt_mode=mode)
    graph = create_agent(model, [refund], middleware=[middleware], checkpointer=saver or InMemorySaver())
    graph.invoke({"messages": [("user", "Refund.")]}, CONFIG)
    return graph


def told(graph: Any) -> str:
    return " ".join(message.text for message in graph.get_state(CONFIG).values["messages"])


def test_equal_calls_are_different_pauses(approver: FakeApprover) -> None:
    graph = started(call(1), call(2))
    asked = request_approvals(graph, CONFIG)
    assert request_approvals(graph, CONFIG) == asked
    resume(graph, CONFIG)
    assert ran == [("A-1", 5)] * 2
    assert [pause.outcome.status for pause in approver.pauses] == ["succeeded"] * 2
    assert [body["metadata"]["client"]["call"] for body in approver.requests] == ["call-1", "call-2"]


def test_options(approver: FakeApprover) -> None:
    options = Options(
        review={"approvals": 2}, valid_for=60, expires_in=None, action=lambda name, args: f"{name} {args['order']}"
    )
    request_approvals(started(call()), CONFIG, options=options)
    (body,) = approver.requests
    assert (body["action"], body["arguments"]) == ("refund A-1", {"order": "A-1", "cents": 5})
    assert (body["review"], body["approvalValidFor"], body["expiresIn"]) == ({"approvals": 2}, 60, None)
    assert "Tool: refund" in body["context"]["description"]


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("decision", ["expire", "cancel", "approve_too_early"])
def test_no_approval_is_a_rejection(approver: FakeApprover, decision: str, mode: str) -> None:
    getattr(approver, decision)()
    graph = started(call(), mode=mode)
    request_approvals(graph, CONFIG)
    resume(graph, CONFIG)
    assert ran == []
    assert {"expire": "in time", "cancel": "was cancelled", "approve_too_early": "valid only"}[decision] in told(graph)


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_an_edit_that_the_tool_does_not_allow(approver: FakeApprover, mode: str) -> None:
    approver.edit(cents=4)
    graph = started(call(), allowed={"allowed_decisions": ["approve", "reject"]}, mode=mode)
    request_approvals(graph, CONFIG)
    resume(graph, CONFIG)
    assert ran == []
    assert 'approved other arguments: {"cents":4,"order":"A-1"}' in told(graph)


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_a_tool_that_cannot_be_rejected(approver: FakeApprover, mode: str) -> None:
    graph = started(call(), allowed={"allowed_decisions": ["approve"]}, mode=mode)
    with pytest.raises(TypeError, match='must allow "approve" and "reject" for the tool refund'):
        request_approvals(graph, CONFIG)
    assert approver.requests == []


def test_an_edit_of_a_wrong_type(approver: FakeApprover) -> None:
    """LangGraph rejects the answer, so nothing runs; the model hears of it in the next attempt."""
    approver.edit(cents="many")
    graph = started(call(), mode="per_call")
    request_approvals(graph, CONFIG)
    with pytest.raises(ValueError, match="cents"):
        resume(graph, CONFIG)
    resume(graph, CONFIG)
    assert ran == []
    assert [pause.outcome.status for pause in approver.pauses] == ["failed"]
    assert "and failed. It does not run again" in told(graph)


def test_nothing_was_requested(approver: FakeApprover) -> None:
    graph = started(call())
    with pytest.raises(sagahold.SagaholdError, match="call request_approvals first"):
        resume(graph, CONFIG)
    assert ran == []


@pytest.mark.parametrize(("cents", "problem"), [(2**60, "an integer beyond"), (float("inf"), "inf")])
def test_arguments_that_are_no_json(approver: FakeApprover, cents: Any, problem: str) -> None:
    graph = started(call(cents=cents))
    with pytest.raises(TypeError, match=rf"arguments of refund\.cents is {problem}"):
        request_approvals(graph, CONFIG)


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(("cents", "other"), [(5, 999_999), (1, True), (0, False)])
def test_changed_messages_run_nothing(
    approver: FakeApprover, tmp_path: Path, mode: str, cents: int, other: int
) -> None:
    """The framework runs the call in the messages, not the one in the interrupt."""
    with SqliteSaver.from_conn_string(str(tmp_path / "state.db")) as saver:
        graph = started(call(cents=cents), mode=mode, saver=saver)
        request_approvals(graph, CONFIG)
        saved: Any = saver.get_tuple(CONFIG)
        saved.checkpoint["channel_values"]["messages"][-1].tool_calls[0]["args"]["cents"] = other
        saver.put(saved.parent_config, saved.checkpoint, saved.metadata, {})
        with pytest.raises(sagahold.ArgumentsChanged, match="its state was changed"):
            resume(graph, CONFIG)
    assert ran == []
    assert approver.pauses[0].consumed_at is None


class State(TypedDict, total=False):
    answer: Any


def node_graph(value: Any, act: Callable[[Any], Any] = lambda answer: answer, saver: Any = True) -> Any:
    builder = StateGraph(State)
    builder.add_node("node", lambda state: {"answer": act(interrupt(value))})
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    graph = builder.compile(checkpointer=saver and InMemorySaver())
    if saver:
        graph.invoke({"answer": None}, CONFIG)
    return graph


PLAIN = {"action": "Refund", "arguments": {"cents": 5}}


@pytest.mark.parametrize(
    "value",
    ["what is your age?", {"action": "x"}, {**PLAIN, "more": 1}, None, {"action_requests": [], "review_configs": []}],
)
def test_other_interrupts_are_refused(approver: FakeApprover, value: Any) -> None:
    graph = node_graph(value)
    for step in (request_approvals, resume):
        with pytest.raises(TypeError, match="waits for something else than an approval"):
            step(graph, CONFIG)
    assert approver.requests == []


@pytest.mark.parametrize("changed", [{"arguments": {"cents": 6}}, {"action": "Refund all"}])
def test_a_changed_interrupt_runs_nothing(approver: FakeApprover, changed: dict[str, Any]) -> None:
    graph = node_graph(PLAIN)
    request_approvals(graph, CONFIG)
    (task,) = graph.get_state(CONFIG).tasks
    saved = Interrupt(PLAIN | changed, task.interrupts[0].id)
    graph.checkpointer.put_writes(graph.get_state(CONFIG).config, [("__interrupt__", [saved])], task.id)
    with pytest.raises(sagahold.ArgumentsChanged, match="the state was changed"):
        resume(graph, CONFIG)
    assert graph.get_state(CONFIG).values == {"answer": None}
    assert approver.pauses[0].consumed_at is None


def test_a_node_gets_the_approved_arguments(approver: FakeApprover) -> None:
    approver.edit(cents=4)
    graph = node_graph(PLAIN)
    request_approvals(graph, CONFIG)
    assert resume(graph, CONFIG)["answer"] == {"type": "edit", "arguments": {"cents": 4}}
    assert approver.pauses[0].outcome.status == "succeeded"


def test_a_node_that_fails(approver: FakeApprover) -> None:
    def fail(answer: Any) -> None:
        ran.append(("node", 1))
        raise ValueError("the bank is closed")

    graph = node_graph(PLAIN, fail)
    request_approvals(graph, CONFIG)
    with pytest.raises(ValueError, match="the bank is closed"):
        resume(graph, CONFIG)
    with pytest.raises(sagahold.AlreadyUsed, match="and failed"):
        resume(graph, CONFIG)
    assert len(ran) == 1
    assert "the bank is closed" in str(approver.pauses[0].outcome)
    graph.update_state(CONFIG, {"answer": "not refunded"}, as_node="node")
    assert resume(graph, CONFIG) == {"answer": "not refunded"}


def test_an_interrupt_in_a_subgraph(approver: FakeApprover) -> None:
    inner = node_graph(PLAIN, saver=None)
    builder = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").add_edge("inner", END)
    for used in (False, True):
        graph = builder.compile(checkpointer=InMemorySaver())
        graph.invoke({"answer": None}, CONFIG)
        (pause,) = request_approvals(graph, CONFIG)
        if used:
            sagahold.Client().consume(pause)
            with pytest.raises(sagahold.AlreadyUsed, match="its result is unknown"):
                resume(graph, CONFIG)
        else:
            assert resume(graph, CONFIG)["answer"] == {"type": "approve", "arguments": {"cents": 5}}
    assert [pause.outcome and pause.outcome.status for pause in approver.pauses] == ["succeeded", None]


def test_a_finished_thread_is_left_alone(approver: FakeApprover) -> None:
    graph = started(call())
    request_approvals(graph, CONFIG)
    resume(graph, CONFIG)
    assert request_approvals(graph, CONFIG) == []
    assert resume(graph, CONFIG)["messages"][-1].text == "done"
    assert ran == [("A-1", 5)]


def test_a_config_without_a_thread(approver: FakeApprover) -> None:
    with pytest.raises(TypeError, match="thread_id"):
        request_approvals(started(call()), {"configurable": {}})
