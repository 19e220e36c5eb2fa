"""The API of awaithumans' SDK, version 0.1.12: tasks with a form, long polls, and a webhook.

The client has no request for using an approval and none for its outcome. The door uses it when it first answers
`completed`, and no outcome is due.
"""

import time
from typing import Any, NoReturn

from flask import Response, g, request

from app.deps import deps
from app.doors.awaithumans.tasks import poll_document, read_task, task_document
from app.doors.door import Door, Problem, read_object
from app.http.decisions import decide_pause
from app.http.json_response import json_response
from app.http.long_poll import hold
from domain.identity.access import Permission
from domain.pauses.callbacks.awaithumans import TaskResult, result
from domain.pauses.consumption import NO_OUTCOME
from domain.pauses.door import door_of
from domain.pauses.pause import Cancel, Pause, Status
from domain.pauses.serialization import pause_id
from domain.values.errors import ExecutionConflict, FieldError, Forbidden, Invalid, NotFound
from services.pauses.lifecycle import actor, get_pause

# Seconds of a long poll.
DEFAULT_WAIT, MAX_WAIT = 25, 30
# Seconds before a poll that may not wait is answered: the client asks again at once.
NO_ROOM = 1.0
_CODES = {"NOT_FOUND": "TASK_NOT_FOUND", "ALREADY_RESOLVED": "TASK_ALREADY_TERMINAL", "CONFLICT": "TASK_ALREADY_EXISTS"}
# The client's names of fields in errors of the pause.
_FIELDS = {
    "review": "assign_to",
    "expiresIn": "timeout_seconds",
    "callbackUrl": "callback_url",
    "responseSchema": "response_schema",
    "arguments": "payload",
}


def _problem_document(problem: Problem) -> dict[str, Any]:
    code = _CODES.get(problem.code, problem.code)
    return {"error": code, "message": problem.detail, "docs": f"{deps().database.public_url}/docs"}


awaithumans = Door("awaithumans", "/compat/awaithumans/api", _problem_document)


@awaithumans.operation("POST", "/tasks", Permission.PAUSE_CREATE)
def create_task() -> Response:
    task = read_task(read_object())
    try:
        pause, repeated = awaithumans.hold(task.key, task.submission, outcome_within=NO_OUTCOME, **task.wanted)
    except Invalid as invalid:
        raise Invalid([FieldError(_field(each.path), each.message) for each in invalid.field_errors]) from None
    headers = {"Idempotent-Replayed": "true"} if repeated else {}
    return json_response(task_document(pause, _result(pause)), 201, headers)


def _field(path: str) -> str:
    name = path.partition(".")[0]
    return _FIELDS.get(name, name) + path[len(name) :]


@awaithumans.operation("GET", "/tasks/<task_id>", Permission.PAUSE_READ)
def get_task(task_id: str) -> Response:
    pause = _own(task_id)
    return json_response(task_document(pause, _result(pause)))


@awaithumans.operation("GET", "/tasks/<task_id>/poll", Permission.PAUSE_READ)
def poll_task(task_id: str) -> Response:
    text = request.args.get("timeout", str(DEFAULT_WAIT))
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else 0
    if not 1 <= seconds <= MAX_WAIT:
        raise Invalid([FieldError("timeout", f"must be 1 to {MAX_WAIT} seconds")])
    pause, held = hold(_own(task_id).id, seconds)
    if not held and pause.status is Status.PENDING:
        time.sleep(NO_ROOM)
    return json_response(poll_document(_result(pause)))


@awaithumans.operation("POST", "/tasks/<task_id>/cancel", Permission.PAUSE_CANCEL)
def cancel_task(task_id: str) -> Response:
    decide_pause(g.principal, _own(task_id).id, Cancel(actor(g.principal)))
    pause = _own(task_id)
    return json_response(task_document(pause, _result(pause)))


@awaithumans.operation("POST", "/tasks/<task_id>/complete", Permission.PAUSE_DECIDE)
def complete_task(task_id: str) -> Response:
    _refuse(task_id)


@awaithumans.operation("POST", "/tasks/<task_id>/claim", Permission.PAUSE_DECIDE)
def claim_task(task_id: str) -> Response:
    _refuse(task_id)


def _refuse(task_id: str) -> NoReturn:
    """Raise `Forbidden` for the caller's own task, and `NotFound` for every other."""
    _own(task_id)
    raise Forbidden("the key that made a task never completes it: a reviewer does that on the dashboard")


def _own(task_id: str) -> Pause:
    """Return the pause of the caller's task. Raise `NotFound`."""
    pause = get_pause(deps().database, g.principal, pause_id(task_id))
    if pause.created_by != g.principal.id or door_of(pause.metadata) != awaithumans.door:
        raise NotFound(f"there is no task {task_id[:64]!r} that this key has made")
    return pause


def _result(pause: Pause) -> TaskResult:
    if pause.status is not Status.APPROVED:
        return result(pause, valid=False)
    if result(pause, valid=True).response is None:
        # The client cannot act on it.
        return result(pause, valid=True)
    try:
        awaithumans.use(pause)
    except ExecutionConflict:
        return result(pause, valid=False)
    return result(pause, valid=True)
