"""Pydantic AI: a pause for each tool call that a run has deferred for approval, and a safe resume in any process.

The application keeps the messages and the `DeferredToolRequests` of the run, as Pydantic AI documents it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

try:
    from pydantic_ai import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied, capture_run_messages
    from pydantic_ai.messages import ModelRequest, ModelResponse, ToolReturnPart
except ImportError as error:
    raise ImportError('this adapter needs Pydantic AI: pip install "sagahold[pydantic-ai]"') from error

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

DOOR = Door("pydantic-ai", "pydantic-ai-slim")


def request_approvals(
    requests: DeferredToolRequests, *, thread: str, options: Options = DEFAULTS, client: Client | None = None
) -> list[Pause]:
    """Ask for each deferred call, and return the pauses. Repeated calls ask once.

    Args:
        thread: the application's name for the conversation. The calls' ids must be unique in it.
    """
    return run(lambda retry_for: _request(requests, thread, options, retry_for), client)


async def arequest_approvals(
    requests: DeferredToolRequests, *, thread: str, options: Options = DEFAULTS, client: AsyncClient | None = None
) -> list[Pause]:
    return await arun(lambda retry_for: _request(requests, thread, options, retry_for), client)


def resume(
    agent: Any,
    messages: Sequence[Any],
    requests: DeferredToolRequests,
    *,
    thread: str,
    calls: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    client: Client | None = None,
    **options: Any,
) -> Any:
    """Wait for the decisions, run the agent with them, and report the outcomes. Return the run's result.

    Args:
        messages: all messages of the run that ended with the requests.
        calls: the results of calls that are executed elsewhere, by their ids.
        timeout: the seconds to wait. After them nothing has run, and `StillPending` is raised.
        options: passed on to `agent.run_sync`.
    """
    wait = Budget(timeout)
    return run(lambda retry_for: _resume(agent, messages, requests, thread, calls, wait, retry_for, options), client)


async def aresume(
    agent: Any,
    messages: Sequence[Any],
    requests: DeferredToolRequests,
    *,
    thread: str,
    calls: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    client: AsyncClient | None = None,
    **options: Any,
) -> Any:
    wait = Budget(timeout)
    return await arun(
        lambda retry_for: _resume(agent, messages, requests, thread, calls, wait, retry_for, options), client
    )


def _request(requests: DeferredToolRequests, thread: str, options: Options, retry_for: float) -> Program[list[Pause]]:
    pauses: list[Pause] = yield DOOR.ask(_calls(requests, thread), options, Budget(retry_for))
    return pauses


def _calls(requests: DeferredToolRequests, thread: str) -> list[ToolCall]:
    if not isinstance(requests, DeferredToolRequests):
        raise TypeError(
            f"the run's output is a {type(requests).__name__}, not DeferredToolRequests: it waits for nothing"
        )
    return [
        ToolCall(thread, part.tool_call_id, part.tool_name, _arguments(part), part.tool_call_id)
        for part in requests.approvals
    ]


def _arguments(part: Any) -> dict[str, Any]:
    try:
        arguments: dict[str, Any] = part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError) as error:
        raise TypeError(f"the arguments of {part.tool_name} are not a JSON object: {part.args!r:.200}") from error
    return arguments


def _resume(
    agent: Any,
    messages: Sequence[Any],
    requests: DeferredToolRequests,
    thread: str,
    results: Mapping[str, Any] | None,
    wait: Budget,
    retry_for: float,
    options: Mapping[str, Any],
) -> Program[Any]:
    calls = _calls(requests, thread)
    _check(messages, calls)
    if (results or {}).keys() != {part.tool_call_id for part in requests.calls}:
        raise TypeError("calls must have a result for each call that is executed elsewhere, and no other")
    pauses = yield DOOR.pauses(calls, Budget(retry_for))
    _, pauses = yield decided([pauses], wait)
    verdicts = yield use(pauses, [True] * len(calls))
    approvals = {call.call_id: _answer(verdict) for call, verdict in zip(calls, verdicts, strict=True)}
    answers = DeferredToolResults(approvals=approvals, calls=dict(results or {}))
    options = {**options, "message_history": list(messages), "deferred_tool_results": answers}
    result, found, error = yield Do(lambda: _run(agent, options), lambda: _arun(agent, options))
    limit = retry_for if error is None or isinstance(error, Exception) else min(retry_for, HURRY)
    yield report(_outcomes(calls, verdicts, found, error), limit)
    if error is not None:
        raise error
    return result


def _check(messages: Sequence[Any], calls: Sequence[ToolCall]) -> None:
    """Compare the requests with the messages, whose calls are those that run."""
    last = next((each for each in reversed(messages) if isinstance(each, ModelResponse)), None)
    made = {part.tool_call_id: part for part in last.tool_calls} if last is not None else {}
    for call in calls:
        part = made.get(call.place)
        if part is None or part.tool_name != call.tool or not canonical_json.equal(_arguments(part), call.arguments):
            raise ArgumentsChanged(
                f"the messages of thread {call.thread} have another call of {call.tool} than the requests: "
                "pass the messages and the requests of one run. Nothing runs."
            )


def _answer(verdict: Verdict) -> ToolApproved | ToolDenied:
    if verdict.arguments is None:
        return ToolDenied(verdict.reason)
    return ToolApproved(override_args=verdict.arguments if verdict.edited else None)


def _run(agent: Any, options: Mapping[str, Any]) -> tuple[Any, list[Any], BaseException | None]:
    """Return the result, the messages, and the error, if there is one."""
    with capture_run_messages() as messages:
        try:
            return agent.run_sync(**options), messages, None
        except BaseException as error:
            return None, messages, error


async def _arun(agent: Any, options: Mapping[str, Any]) -> tuple[Any, list[Any], BaseException | None]:
    with capture_run_messages() as messages:
        try:
            return await agent.run(**options), messages, None
        except GeneratorExit:
            raise
        except BaseException as error:
            return None, messages, error


def _outcomes(
    calls: Sequence[ToolCall], verdicts: Sequence[Verdict], messages: Sequence[Any], error: BaseException | None
) -> list[tuple[Pause, Outcome]]:
    """Return what the messages say about each approved call."""
    returns = {
        part.tool_call_id: part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }
    found: list[tuple[Pause, Outcome]] = []
    for call, verdict in zip(calls, verdicts, strict=True):
        if verdict.arguments is None:
            continue
        part = returns.get(call.place)
        if part is not None and part.outcome == "success":
            found.append((verdict.pause, ("succeeded", None)))
        elif part is not None and part.outcome in ("failed", "retried"):
            found.append((verdict.pause, ("failed", part.model_response_str())))
        else:
            found.append((verdict.pause, ("unknown", f"the run ended without a result of the tool: {error!r}")))
    return found
