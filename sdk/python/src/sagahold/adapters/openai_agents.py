"""OpenAI Agents SDK: a pause for each tool call that a run has stopped for, and a safe resume in any process.

The application keeps the run as `state.to_string()`. The framework cannot run other arguments than the model's, so an
approval with edited arguments becomes a rejection that names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

try:
    from agents import RunContextWrapper, Runner, RunState, ToolCallOutputItem, default_tool_error_function
except ImportError as error:
    raise ImportError('this adapter needs the OpenAI Agents SDK: pip install "sagahold[openai-agents]"') from error

from sagahold import canonical_json
from sagahold.adapters.tool_calls import (
    DEFAULTS,
    HURRY,
    Do,
    Door,
    Options,
    Outcome,
    Program,
    ToolCall,
    Verdict,
    arun,
    decided,
    report,
    run,
    use,
)
from sagahold.client import AsyncClient, Client
from sagahold.errors import ArgumentsChanged
from sagahold.pauses import Pause
from sagahold.protocol import Budget

DOOR = Door("openai-agents", "openai-agents")


def request_approvals(
    state: RunState, *, thread: str, options: Options = DEFAULTS, client: Client | None = None
) -> list[Pause]:
    """Ask for each call that waits, and return the pauses. Repeated calls ask once.

    Args:
        thread: the application's name for the conversation. The calls' ids must be unique in it.
    """
    return run(lambda retry_for: _request(state, thread, options, retry_for), client)


async def arequest_approvals(
    state: RunState, *, thread: str, options: Options = DEFAULTS, client: AsyncClient | None = None
) -> list[Pause]:
    return await arun(lambda retry_for: _request(state, thread, options, retry_for), client)


def resume(
    agent: Any,
    state: RunState,
    *,
    thread: str,
    timeout: float | None = None,
    client: Client | None = None,
    **options: Any,
) -> Any:
    """Wait for the decisions, run the agent with them, and report the outcomes. Return the run's result.

    Args:
        timeout: the seconds to wait. After them nothing has run, and `StillPending` is raised.
        options: passed on to `Runner.run_sync`.
    """
    wait = Budget(timeout)
    return run(lambda retry_for: _resume(agent, state, thread, wait, retry_for, options), client)


async def aresume(
    agent: Any,
    state: RunState,
    *,
    thread: str,
    timeout: float | None = None,
    client: AsyncClient | None = None,
    **options: Any,
) -> Any:
    wait = Budget(timeout)
    return await arun(lambda retry_for: _resume(agent, state, thread, wait, retry_for, options), client)


def _request(state: RunState, thread: str, options: Options, retry_for: float) -> Program[list[Pause]]:
    pauses: list[Pause] = yield DOOR.ask(_calls(state, thread), options, Budget(retry_for))
    return pauses


def _calls(state: RunState, thread: str) -> list[ToolCall]:
    return [_call(thread, item) for item in state.get_interruptions()]


def _call(thread: str, item: Any) -> ToolCall:
    raw = item.raw_item if isinstance(item.raw_item, dict) else item.raw_item.model_dump()
    if raw.get("type") != "function_call":
        raise TypeError(
            f"{item.name} waits for approval as a {raw.get('type')}: this adapter holds function tools only. "
            "Decide it with state.approve or state.reject first."
        )
    tool = f"{item.tool_namespace}.{item.name}" if item.tool_namespace else item.name
    return ToolCall(thread, raw["call_id"], tool, _read(tool, raw["arguments"]), raw["call_id"])


def _read(tool: str, text: str) -> dict[str, Any]:
    try:
        arguments = canonical_json.loads(text.encode())
    except ValueError as error:
        raise TypeError(f"the arguments of {tool} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise TypeError(f"the arguments of {tool} are not a JSON object: {text:.200}")
    return arguments


def _resume(
    agent: Any, state: RunState, thread: str, wait: Budget, retry_for: float, options: Mapping[str, Any]
) -> Program[Any]:
    items = state.get_interruptions()
    calls = [_call(thread, item) for item in items]
    _check(state, calls)
    pauses = yield DOOR.pauses(calls, Budget(retry_for))
    _, pauses = yield decided([pauses], wait)
    verdicts = yield use(pauses, [False] * len(calls))
    for item, verdict in zip(items, verdicts, strict=True):
        if verdict.arguments is None:
            state.reject(item, rejection_message=verdict.reason)
        else:
            state.approve(item)
    try:
        result = yield Do(lambda: Runner.run_sync(agent, state, **options), lambda: Runner.run(agent, state, **options))
    except BaseException as error:
        limit = retry_for if isinstance(error, Exception) else min(retry_for, HURRY)
        data = getattr(error, "run_data", None)
        yield report(_outcomes(calls, verdicts, data.new_items if data is not None else (), error), limit)
        raise
    yield report(_outcomes(calls, verdicts, result.new_items, None), retry_for)
    return result


def _check(state: RunState, calls: Sequence[ToolCall]) -> None:
    """Compare the calls that run with those that wait: the state has several copies of each."""
    response = state.to_json().get("last_processed_response") or {}
    made = [each.get("tool_call") or {} for each in response.get("functions") or ()]
    for call in calls:
        for found in (each for each in made if each.get("call_id") == call.call_id):
            arguments = _read(call.tool, found["arguments"])
            if found["name"] != call.tool.rpartition(".")[2] or not canonical_json.equal(arguments, call.arguments):
                raise ArgumentsChanged(
                    f"the saved state of thread {call.thread} has another call of {call.tool} than the one that waits: "
                    "it was changed. Nothing runs. Start a new run."
                )


def _outcomes(
    calls: Sequence[ToolCall], verdicts: Sequence[Verdict], items: Sequence[Any], error: BaseException | None
) -> list[tuple[Pause, Outcome]]:
    """Return what the run's items say about each approved call. The framework turns a tool's exception into a text."""
    results = [item for item in items if isinstance(item, ToolCallOutputItem) and isinstance(item.raw_item, dict)]
    texts = {item.raw_item.get("call_id"): item.output for item in results}
    failure: Any = default_tool_error_function(RunContextWrapper(None), Exception())
    found: list[tuple[Pause, Outcome]] = []
    for call, verdict in zip(calls, verdicts, strict=True):
        if verdict.arguments is None:
            continue
        if call.call_id not in texts:
            found.append((verdict.pause, ("unknown", f"the run ended without a result of the tool: {error!r}")))
        elif texts[call.call_id] == failure:
            found.append((verdict.pause, ("failed", failure)))
        else:
            found.append((verdict.pause, ("succeeded", None)))
    return found
