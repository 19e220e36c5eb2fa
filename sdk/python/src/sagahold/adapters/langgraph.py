"""LangGraph and LangChain: a pause for each interrupt of a thread, and a safe resume in any process.

It knows the interrupts of LangChain's `HumanInTheLoopMiddleware` (both modes), and a node's own
`interrupt({"action": "Refund order 7", "arguments": {…}})`. The node gets `type` and the approved `arguments`, or the
type `reject` and a `message`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from langchain_core.messages import ToolMessage
    from langgraph.types import Command
except ImportError as error:
    raise ImportError('this adapter needs LangGraph: pip install "sagahold[langgraph]"') from error

from sagahold import protocol
from sagahold.adapters.langgraph_threads import (
    Snapshot,
    ahistory,
    aread,
    history,
    last_calls,
    last_interrupts,
    messages_of,
    outcomes,
    read,
    thread_of,
    tool_message,
    waiting,
)
from sagahold.adapters.tool_calls import (
    DEFAULTS,
    HURRY,
    Do,
    Door,
    Options,
    Program,
    arun,
    client_facts,
    decided,
    report,
    run,
    use,
)
from sagahold.client import AsyncClient, Client
from sagahold.errors import RequestError, not_usable
from sagahold.pauses import Pause
from sagahold.protocol import Budget, Flow

DOOR = Door("langgraph", "langgraph")
STOPPED = "This call has no result, because the run ended during this turn. A call that needs an approval did not run."


def request_approvals(
    graph: Any, config: Mapping[str, Any], *, options: Options = DEFAULTS, client: Client | None = None
) -> list[Pause]:
    """Ask for each action that the thread waits for, and return the pauses. Repeated calls ask once."""
    return run(lambda retry_for: _request(graph, config, options, retry_for), client)


async def arequest_approvals(
    graph: Any, config: Mapping[str, Any], *, options: Options = DEFAULTS, client: AsyncClient | None = None
) -> list[Pause]:
    return await arun(lambda retry_for: _request(graph, config, options, retry_for), client)


def resume(
    graph: Any,
    config: Mapping[str, Any],
    *,
    timeout: float | None = None,
    client: Client | None = None,
    **invoke: Any,
) -> Any:
    """Wait for the decisions, resume the thread with them, and report the outcomes. Return the graph's result.

    Args:
        timeout: the seconds to wait. After them the thread stays as it is, and `StillPending` is raised.
        invoke: passed on to `graph.invoke`.
    """
    return run(lambda retry_for: _resume(graph, config, Budget(timeout), retry_for, invoke), client)


async def aresume(
    graph: Any,
    config: Mapping[str, Any],
    *,
    timeout: float | None = None,
    client: AsyncClient | None = None,
    **invoke: Any,
) -> Any:
    return await arun(lambda retry_for: _resume(graph, config, Budget(timeout), retry_for, invoke), client)


def _request(graph: Any, config: Mapping[str, Any], options: Options, retry_for: float) -> Program[list[Pause]]:
    thread = thread_of(config)
    snapshot: Snapshot = yield _read(graph, config)
    calls = [call for held in waiting(thread, snapshot.state) for call in held.calls]
    pauses: list[Pause] = yield DOOR.ask(calls, options, Budget(retry_for))
    return pauses


def _resume(
    graph: Any, config: Mapping[str, Any], budget: Budget, retry_for: float, invoke: Mapping[str, Any]
) -> Program[Any]:
    thread = thread_of(config)
    snapshot: Snapshot = yield _read(graph, config)
    if (yield from _settle(graph, config, snapshot, retry_for)):
        snapshot = yield _read(graph, config)
    state = snapshot.state
    wanted = {held.id for held in waiting(thread, state)}
    result = state.values
    if not wanted and state.next:
        result = yield _invoke(graph, None, config, invoke)
    while held_now := [held for held in waiting(thread, state) if held.id in wanted]:
        groups = []
        for held in held_now:
            groups.append((yield DOOR.pauses(held.calls, Budget(retry_for))))
        index, pauses = yield decided(groups, budget)
        # One interrupt at a time, so that a failure of one tool leaves the others' approvals unused.
        held = held_now[index]
        wanted.remove(held.id)
        verdicts = yield use(pauses, held.editable)
        try:
            result = yield _invoke(graph, Command(resume={held.id: held.answer(verdicts)}), config, invoke)
        except BaseException as error:
            after = yield from _after(graph, config, error)
            limit = retry_for if isinstance(error, Exception) else min(retry_for, HURRY)
            yield report(outcomes(held, verdicts, after, error), limit)
            raise
        snapshot = yield _read(graph, config)
        yield report(outcomes(held, verdicts, snapshot, None), retry_for)
        state = snapshot.state
    return result


def _read(graph: Any, config: Mapping[str, Any]) -> Do:
    return Do(lambda: read(graph, config), lambda: aread(graph, config))


def _after(graph: Any, config: Mapping[str, Any], error: BaseException) -> Program[Snapshot | None]:
    """Return the thread after a failed run, or None if it cannot be read."""
    try:
        found: Snapshot | None = (yield _read(graph, config)) if isinstance(error, Exception) else None
    except Exception:
        return None
    return found


def _invoke(graph: Any, value: Any, config: Mapping[str, Any], options: Mapping[str, Any]) -> Do:
    return Do(lambda: graph.invoke(value, config, **options), lambda: graph.ainvoke(value, config, **options))


def _settle(graph: Any, config: Mapping[str, Any], snapshot: Snapshot, retry_for: float) -> Program[bool]:
    """Keep each call whose approval an earlier process has used from running again. Return whether the thread changed.

    A node that died runs again with the answer that it got. So its thread goes on only behind that node.

    Raises:
        AlreadyUsed: a node may have acted, and there is no message in which to say so.
    """
    state = snapshot.state
    open_ids = {interrupt.id for task, interrupt in snapshot.interrupts if snapshot.takes_answer(task, interrupt)}
    snapshots = yield Do(lambda: history(graph, config), lambda: ahistory(graph, config))
    calls = {call["id"]: call for call in last_calls(next(messages_of(state))) if not tool_message(state, call["id"])}
    lost, waiting_still = {}, []
    for place, interrupt_id, ended in last_interrupts(snapshots):
        pause: Pause | None = yield DOOR.find(thread_of(config), place, Budget(retry_for))
        if pause is None:
            continue
        if pause.consumed_at is None or interrupt_id in open_ids:
            waiting_still.append(pause)
            continue
        call_id = client_facts(pause).get("call")
        message = tool_message(state, call_id)
        if call_id in calls:
            lost[call_id] = pause
        elif not ended and message is None:
            raise not_usable(pause)
        # A message with an error may be the adapter's own.
        elif pause.outcome is None and (call_id is None or (message is not None and message.status == "success")):
            yield report([(pause, ("succeeded", None))], retry_for)
    if not lost:
        return False
    if "tools" not in graph.nodes:
        raise not_usable(next(iter(lost.values())))
    for pause in waiting_still:
        if pause.status == "pending":
            yield _withdraw(pause, retry_for)
    texts = {call_id: str(not_usable(lost[call_id])) if call_id in lost else STOPPED for call_id in calls}
    messages = [
        ToolMessage(texts[call_id], name=call["name"], tool_call_id=call_id, status="error")
        for call_id, call in calls.items()
    ]
    update = {"messages": messages}
    yield Do(
        lambda: graph.update_state(config, update, as_node="tools"),
        lambda: graph.aupdate_state(config, update, as_node="tools"),
    )
    return True


def _withdraw(pause: Pause, retry_for: float) -> Flow[None]:
    try:
        yield from protocol.cancel(pause, "The agent's run ended during this turn.", Budget(retry_for))
    except RequestError as error:
        if error.code != "ALREADY_RESOLVED":
            raise
