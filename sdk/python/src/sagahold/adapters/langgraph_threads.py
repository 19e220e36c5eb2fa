"""A LangGraph thread as the adapter sees it: what waits, what was answered, and what the tools returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Interrupt

from sagahold import canonical_json
from sagahold.adapters.tool_calls import Outcome, ToolCall, Verdict
from sagahold.errors import ArgumentsChanged
from sagahold.pauses import Pause

# The checkpoints in which the last interrupt is sought.
CHECKPOINTS = 50


@dataclass(frozen=True)
class Snapshot:
    """The state of a thread. `resumed` has the tasks with a saved answer; None if the graph does not show them."""

    state: Any
    resumed: frozenset[str] | None

    @property
    def interrupts(self) -> list[tuple[Any, Any]]:
        """Return each task that has not ended with each of its interrupts, answered or not."""
        return [(task, each) for task in self.state.tasks for each in task.interrupts]

    def takes_answer(self, task: Any, interrupt: Any) -> bool:
        """Return whether the interrupt surely has no saved answer. A task uses a saved answer, and ignores a new one.

        The answers of a subgraph are not seen here. With several interrupts in one node, nor is which of them has one.
        """
        own = Interrupt.from_ns(None, f"{task.name}:{task.id}").id == interrupt.id
        return own and self.resumed is not None and task.id not in self.resumed


def read(graph: Any, config: Any) -> Snapshot:
    state = graph.get_state(config, subgraphs=True)
    saver: Any = getattr(graph, "checkpointer", None)
    return Snapshot(state, _resumed(saver.get_tuple(state.config)) if hasattr(saver, "get_tuple") else None)


async def aread(graph: Any, config: Any) -> Snapshot:
    state = await graph.aget_state(config, subgraphs=True)
    saver: Any = getattr(graph, "checkpointer", None)
    return Snapshot(state, _resumed(await saver.aget_tuple(state.config)) if hasattr(saver, "aget_tuple") else None)


def _resumed(saved: Any) -> frozenset[str]:
    writes = (saved.pending_writes or []) if saved is not None else []
    return frozenset(task_id for task_id, channel, _ in writes if channel == "__resume__")


def history(graph: Any, config: Any) -> list[Any]:
    return list(graph.get_state_history(config, limit=CHECKPOINTS))


async def ahistory(graph: Any, config: Any) -> list[Any]:
    return [snapshot async for snapshot in graph.aget_state_history(config, limit=CHECKPOINTS)]


def last_interrupts(snapshots: Sequence[Any]) -> list[tuple[str, str, bool]]:
    """Return the place of each action of the last interrupts, its interrupt's id, and whether the node has ended."""
    for snapshot in snapshots:
        found = [
            (f"{interrupt.id}/{index}", interrupt.id, snapshot is not snapshots[0] or task.result is not None)
            for task in snapshot.tasks
            for interrupt in task.interrupts
            for index in range(_size(interrupt.value))
        ]
        if found:
            return found
    return []


def thread_of(config: Mapping[str, Any]) -> str:
    thread = config.get("configurable", {}).get("thread_id")
    if thread is None:
        raise TypeError('the config has no thread: pass {"configurable": {"thread_id": …}}')
    return str(thread)


@dataclass(frozen=True)
class Held:
    """An interrupt that waits. `editable` says of each call whether the framework can run other arguments."""

    id: str
    task_id: str
    kind: str
    calls: list[ToolCall]
    editable: list[bool]

    def answer(self, verdicts: Sequence[Verdict]) -> Any:
        answers = [self._one(call, verdict) for call, verdict in zip(self.calls, verdicts, strict=True)]
        return {"decisions": answers} if self.kind == "batched" else answers[0]

    def _one(self, call: ToolCall, verdict: Verdict) -> dict[str, Any]:
        if verdict.arguments is None:
            return {"type": "reject", "message": verdict.reason}
        if self.kind == "plain":
            return {"type": "edit" if verdict.edited else "approve", "arguments": verdict.arguments}
        if not verdict.edited:
            return {"type": "approve"}
        return {"type": "edit", "edited_action": {"name": call.tool, "args": verdict.arguments}}


def waiting(thread: str, state: Any) -> list[Held]:
    return [_held(thread, state, task, each) for task in state.tasks for each in task.interrupts]


def _held(thread: str, state: Any, task: Any, interrupt: Any) -> Held:
    value = interrupt.value
    kind, requests = _requests(value)
    if kind == "batched":
        allowed = [review["allowed_decisions"] for review in value["review_configs"]]
        ids = _call_ids(thread, state, task, requests)
    elif kind == "per_call":
        allowed, ids = [_allowed(interrupt.response_schema)], [value["tool_call_id"]]
        made = {call["id"]: call for messages in messages_of(state) for call in last_calls(messages)}
        call = made.get(ids[0])
        if call is not None and not _same(call, value):
            raise _changed(thread, value["name"])
    else:
        allowed, ids = [("approve", "edit", "reject")], [None]
    calls = []
    for index, (request, call_id, may) in enumerate(zip(requests, ids, allowed, strict=True)):
        tool = request["action" if kind == "plain" else "name"]
        if not {"approve", "reject"} <= set(may):
            raise TypeError(f'interrupt_on must allow "approve" and "reject" for the tool {tool}, not only {list(may)}')
        arguments = request["arguments" if kind == "plain" else "args"]
        place = f"{interrupt.id}/{index}"
        calls.append(ToolCall(thread, place, tool, arguments, call_id, request.get("description")))
    return Held(interrupt.id, task.id, kind, calls, ["edit" in may for may in allowed])


def _requests(value: Any) -> tuple[str, list[Any]]:
    """Return the kind of an interrupt, and its actions. Raise `TypeError` for an unknown kind."""
    if isinstance(value, dict):
        requests, reviews = value.get("action_requests"), value.get("review_configs")
        if isinstance(requests, list) and isinstance(reviews, list) and len(requests) == len(reviews) > 0:
            return "batched", requests
        if value.get("type") == "tool_approval" and {"tool_call_id", "name", "args"} <= value.keys():
            return "per_call", [value]
        if value.keys() in ({"action", "arguments"}, {"action", "arguments", "description"}):
            return "plain", [value]
    raise TypeError(
        f"the thread waits for something else than an approval, {value!r:.200}: resume it yourself, or interrupt with "
        '{"action": "…", "arguments": {…}}'
    )


def _allowed(schema: Any) -> list[str]:
    """Return the decisions that the schema of a per-call interrupt admits."""
    if not isinstance(schema, dict):
        return []
    kinds = schema.get("discriminator", {}).get("mapping") or [
        schema.get("properties", {}).get("type", {}).get("const")
    ]
    return list(kinds)


def messages_of(state: Any) -> Iterator[list[Any]]:
    """Yield the messages of the graph and of its subgraphs that have begun."""
    values = state.values
    messages = values.get("messages") if isinstance(values, dict) else getattr(values, "messages", None)
    yield messages if isinstance(messages, list) else []
    for task in state.tasks:
        if isinstance(task.state, type(state)):
            yield from messages_of(task.state)


def last_calls(messages: Sequence[Any]) -> list[Any]:
    last = next((each for each in reversed(messages) if isinstance(each, AIMessage)), None)
    return [] if last is None else last.tool_calls


def _call_ids(thread: str, state: Any, task: Any, requests: Sequence[Any]) -> list[str | None]:
    """Return the model's id of each call of a batch: the framework runs the calls of its messages."""
    for messages in messages_of(state):
        calls, ids = last_calls(messages), list[str | None]()
        for request in requests:
            index = next((index for index, call in enumerate(calls) if _same(call, request)), None)
            if index is None:
                break
            ids.append(calls[index]["id"])
            calls = calls[index + 1 :]
        else:
            return ids
    if task.name.endswith(".after_model") or task.state is not None:
        raise _changed(thread, requests[0]["name"])
    return [None] * len(requests)  # an agent that a node calls, whose messages cannot be seen


def _same(call: Any, request: Any) -> bool:
    """Return whether a call of the messages is the one of the interrupt."""
    made, held = call["args"], request["args"]
    # Arguments that are not JSON are refused when someone is asked for them.
    same = canonical_json.equal(made, held) or (made == held and not canonical_json.equal(held, held))
    return bool(call["name"] == request["name"] and same)


def _changed(thread: str, tool: str) -> ArgumentsChanged:
    return ArgumentsChanged(
        f"the messages of thread {thread} have another call of {tool} than its interrupt: its state was changed. "
        "Nothing runs. Start a new thread."
    )


def tool_message(state: Any, call_id: str | None) -> Any:
    """Return the tool's message, or None."""
    found = (each for messages in messages_of(state) for each in reversed(messages) if isinstance(each, ToolMessage))
    return next((each for each in found if call_id is not None and each.tool_call_id == call_id), None)


def outcomes(
    held: Held, verdicts: Sequence[Verdict], snapshot: Snapshot | None, error: BaseException | None
) -> list[tuple[Pause, Outcome]]:
    """Return what is known about the approved calls after a run. Without a snapshot, nothing is."""
    found = []
    for call, verdict in zip(held.calls, verdicts, strict=True):
        if verdict.arguments is not None:
            outcome = _outcome(held, call, snapshot, error)
            if outcome is not None:
                found.append((verdict.pause, outcome))
    return found


def _outcome(held: Held, call: ToolCall, snapshot: Snapshot | None, error: BaseException | None) -> Outcome | None:
    """Return what is known about an approved call after the run; None if it is still on its way."""
    raised = f"{type(error).__name__}: {error}"
    if snapshot is None:
        return "unknown", raised
    if error is not None and any(snapshot.takes_answer(*each) for each in snapshot.interrupts if each[1].id == held.id):
        return "failed", f"it did not run: {raised}"
    state = snapshot.state
    message = tool_message(state, call.call_id)
    if message is not None:
        return ("failed", message.text) if message.status == "error" else ("succeeded", None)
    mine = [task for task in state.tasks if task.result is None]
    if held.kind != "batched":  # the tools of a batch run in nodes of their own, after the one with the interrupt
        mine = [task for task in mine if task.id == held.task_id]
    if held.kind == "plain" and not mine:
        return "succeeded", None  # the node has ended
    if mine and all(task.error for task in mine):
        return "failed", "; ".join(str(task.error) for task in mine)
    return None if error is None else ("unknown", raised)


def _size(value: Any) -> int:
    try:
        return len(_requests(value)[1])
    except TypeError:
        return 0  # it was answered by other means
