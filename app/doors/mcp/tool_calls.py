"""The tools: what each is called, takes and does. A tool that has to wait returns a `Wait` instead of its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from flask import g

from app.deps import deps
from app.doors.mcp.decisions import QUESTION, arguments_changed, decision_result, is_question
from app.doors.mcp.messages import Call
from app.doors.mcp.tool_schemas import DEFAULT_WAIT, TOOLS
from app.http.decisions import decide_pause
from app.http.problems import refusal_document
from domain.pauses.consumption import NO_OUTCOME, ExecutionStatus
from domain.pauses.pause import Cancel, OnTimeout, Pause, Status
from domain.pauses.serialization import pause_id
from domain.values import canonical_json, json_schema
from domain.values.errors import (
    AlreadyConsumed,
    ApprovalExpired,
    ArgumentsChanged,
    DomainError,
    FieldError,
    Invalid,
    NotApproved,
)
from services.pauses.execution import OutcomeReport, consume_pause, report_outcome
from services.pauses.lifecycle import actor, get_pause

if TYPE_CHECKING:
    from app.doors.door import Door

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """The pause that the tool waits for, and for how many seconds at most.

    Attributes:
        as_task: a client that knows tasks gets one instead of the wait.
    """

    pause: Pause
    seconds: float
    as_task: bool = False


def run_tool(door: "Door", call: Call, name: str, arguments: dict[str, Any]) -> dict[str, Any] | Wait:
    """Run the tool. A refused call is a result too, so that the model reads the reason."""
    try:
        _check(name, arguments)
        return _RUN[name](door, call, arguments)
    except DomainError as refused:
        return refusal_result(refused)


def refusal_result(refused: DomainError) -> dict[str, Any]:
    problem = refusal_document(refused)
    errors = [
        f"{each['path']}: {each['message']}" if each["path"] else each["message"] for each in problem.get("errors", ())
    ]
    text = f"{problem['code']}: {'; '.join(errors) or problem['detail']}"
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _check(name: str, arguments: dict[str, Any]) -> None:
    # The values inside are checked where they are used; a large one is too much work here.
    outer = {key: {} if isinstance(value, dict) else value for key, value in arguments.items() if key != "result"}
    found = list(json_schema.value_errors(TOOLS[name]["inputSchema"], outer, ""))
    if found:
        raise Invalid([FieldError(each.path.removeprefix("."), each.message) for each in found])


def _request_approval(door: "Door", call: Call, arguments: Arguments) -> dict[str, Any] | Wait:
    wanted = {
        name: arguments[name]
        for name in ("action", "arguments", "arguments_schema", "context", "review", "response_schema")
        if name in arguments
    }
    if "on_timeout" in arguments:
        wanted["on_timeout"] = OnTimeout(arguments["on_timeout"])
    return _held(door, call, "request_approval", arguments, wanted)


def _ask_human(door: "Door", call: Call, arguments: Arguments) -> dict[str, Any] | Wait:
    if "options" in arguments and "schema" in arguments:
        raise Invalid([FieldError("schema", "give either `options` or `schema`")])
    schema = arguments.get("schema", {"type": "string", "minLength": 1, "title": "Answer"})
    if "options" in arguments:
        schema = {"type": "string", "enum": arguments["options"], "title": "Answer"}
    wanted = {
        "action": arguments["question"],
        "response_schema": schema,
        "approval_valid_for": None,
        "outcome_within": NO_OUTCOME,
    }
    if "context" in arguments:
        wanted["context"] = arguments["context"]
    if "assignees" in arguments:
        wanted["review"] = {"assignees": arguments["assignees"]}
    return _held(door, call, QUESTION, arguments, wanted)


def _held(door: "Door", call: Call, tool: str, arguments: Arguments, wanted: dict[str, Any]) -> dict[str, Any] | Wait:
    if "expires_in" in arguments:
        wanted["expires"] = timedelta(seconds=arguments["expires_in"])
    wanted["metadata"] = {"client": {**call.client, "tool": tool}}
    request = {name: value for name, value in arguments.items() if name not in ("wait_seconds", "idempotency_key")}
    submission = {"sha256": canonical_json.digest({"tool": tool, **request}).hex()}
    pause, _ = door.hold(arguments.get("idempotency_key"), submission, **wanted)
    return _awaited(pause, arguments, as_task=arguments.get("wait_seconds") != 0)


def _wait_for_decision(_door: "Door", _call: Call, arguments: Arguments) -> dict[str, Any] | Wait:
    return _awaited(_pause(arguments), arguments)


def _awaited(pause: Pause, arguments: Arguments, *, as_task: bool = False) -> dict[str, Any] | Wait:
    seconds = arguments.get("wait_seconds", DEFAULT_WAIT)
    if pause.status is Status.PENDING and (seconds or as_task):
        return Wait(pause, seconds, as_task)
    return decided_result(pause)


def _get_decision(_door: "Door", _call: Call, arguments: Arguments) -> dict[str, Any]:
    return decided_result(_pause(arguments))


def decided_result(pause: Pause) -> dict[str, Any]:
    """Return the result of a wait. An answer is used by being handed out."""
    result = decision_result(pause)
    own = pause.created_by == g.principal.id
    if own and is_question(pause) and pause.status is Status.APPROVED and pause.consumption is None:
        consume_pause(deps().database, g.principal, pause.id, QUESTION)
    return result


def _use_approval(_door: "Door", _call: Call, arguments: Arguments) -> dict[str, Any]:
    id_ = pause_id(arguments["watchId"])
    digest = None if "arguments" not in arguments else canonical_json.digest(arguments["arguments"]).hex()
    try:
        # A key of its own for each call: a second call does not say GO again, as nothing tells whether the first did.
        consume_pause(deps().database, g.principal, id_, token_hex(), digest)
    except ApprovalExpired as late:
        return decision_result(get_pause(deps().database, g.principal, id_), blocked=f"TOO LATE: {late.detail}.")
    except ArgumentsChanged:
        return arguments_changed(get_pause(deps().database, g.principal, id_))
    except (NotApproved, AlreadyConsumed):
        return decision_result(get_pause(deps().database, g.principal, id_))
    return decision_result(get_pause(deps().database, g.principal, id_), just_used=True)


def _record_outcome(_door: "Door", _call: Call, arguments: Arguments) -> dict[str, Any]:
    pause = _pause(arguments)
    outcome = OutcomeReport(ExecutionStatus(arguments["status"]), arguments.get("note"), arguments.get("result"))
    if pause.status is Status.APPROVED and pause.consumption is None:
        # The model has forgotten `use_approval`. From now on nothing can use this approval again.
        consume_pause(deps().database, g.principal, pause.id, "record_outcome")
    report_outcome(deps().database, g.principal, pause.id, outcome)
    return decision_result(get_pause(deps().database, g.principal, pause.id))


def _cancel_request(_door: "Door", _call: Call, arguments: Arguments) -> dict[str, Any]:
    pause = _pause(arguments)
    decide_pause(g.principal, pause.id, Cancel(actor(g.principal), arguments.get("reason")))
    return decision_result(get_pause(deps().database, g.principal, pause.id))


def _pause(arguments: Arguments) -> Pause:
    return get_pause(deps().database, g.principal, pause_id(arguments["watchId"]))


_RUN: dict[str, Callable[["Door", Call, Arguments], dict[str, Any] | Wait]] = {
    "request_approval": _request_approval,
    "wait_for_decision": _wait_for_decision,
    "get_decision": _get_decision,
    "use_approval": _use_approval,
    "record_outcome": _record_outcome,
    "cancel_request": _cancel_request,
    QUESTION: _ask_human,
}
