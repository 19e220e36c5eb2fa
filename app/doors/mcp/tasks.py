"""The extension `io.modelcontextprotocol/tasks`: a pause as a task of the client. Its id is the id of the pause."""

import contextlib
from typing import Any

from flask import g

from app.deps import deps
from app.doors.mcp.messages import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, TASKS, Call, RPCError
from app.doors.mcp.tool_calls import decided_result
from app.http.decisions import decide_pause
from domain.pauses.pause import Cancel, Pause, Status
from domain.pauses.serialization import instant, pause_id, review_url
from domain.values import ids
from domain.values.errors import AlreadyResolved, NotFound
from services.pauses.lifecycle import actor, get_pause

# How often clients ask; people take longer.
POLL_INTERVAL_MS = 3_000
_NEEDED: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
METHODS = frozenset({"tasks/get", "tasks/cancel", "tasks/update"})


def new_task(pause: Pause) -> dict[str, Any]:
    """Return the result of a tool call that goes on as a task."""
    return {"resultType": "task", **_task(pause)}


def run_task_method(call: Call) -> dict[str, Any]:
    """Return the result of the method. Raises `RPCError`."""
    if not call.newest:
        raise RPCError(METHOD_NOT_FOUND, f"the protocol version {call.version} has no method {call.method}", 200)
    if not call.tasks:
        raise RPCError(MISSING_CAPABILITY, f"declare the extension {TASKS} in the client's capabilities", data=_NEEDED)
    pause = _own(call.params.get("taskId"))
    if call.method == "tasks/cancel" and pause.status is Status.PENDING:
        # A decision that was faster counts.
        with contextlib.suppress(AlreadyResolved):
            decide_pause(g.principal, pause.id, Cancel(actor(g.principal)))
    # An update carries answers of the agent's own side. None is asked for, and none decides.
    return _task(pause) if call.method == "tasks/get" else {}


def _own(task_id: Any) -> Pause:
    """Return the pause that this key has created. Others of its namespaces are not its tasks."""
    try:
        pause = get_pause(deps().database, g.principal, pause_id(str(task_id)))
        if pause.created_by == g.principal.id:
            return pause
    except NotFound:
        pass
    raise RPCError(INVALID_PARAMS, "there is no task with this id that this key has made")


def _task(pause: Pause) -> dict[str, Any]:
    updated = pause.created_at if pause.decision is None else pause.decision.at
    task: dict[str, Any] = {
        "taskId": ids.text(ids.WATCH, pause.id),
        "createdAt": instant(pause.created_at),
        "lastUpdatedAt": instant(updated),
        "ttlMs": None,
        "pollIntervalMs": POLL_INTERVAL_MS,
    }
    match pause.status:
        case Status.PENDING:
            where = review_url(pause.id, deps().database.public_url)
            return {**task, "status": "working", "statusMessage": f"Waiting for a person, who decides at {where}"}
        case Status.CANCELLED:
            return {
                **task,
                "status": "cancelled",
                "statusMessage": "The request was cancelled: do not execute the action",
            }
        case _:
            return {**task, "status": "completed", "result": {"resultType": "complete", **decided_result(pause)}}
