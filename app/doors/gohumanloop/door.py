"""The API of GoHumanLoop's client, version 0.0.15, below `/compat/gohumanloop`.

The client has no request for using an approval and none for its outcome. The door uses the approval when it first
answers `approved`, and no outcome is due. The client runs the arguments that it has, so an edit is a rejection.
"""

from contextlib import suppress
from typing import Any

from flask import Response, g, request

from app.deps import deps
from app.doors.door import Door, Problem, read_object
from app.doors.gohumanloop.answers import error_document, loop_type_of, status_document
from app.doors.gohumanloop.loops import APPROVAL, CONVERSATION, Loop, conversation_tag, external_id, read_loop
from app.http.decisions import decide_pause
from app.http.json_response import json_response
from domain.identity.access import Permission
from domain.pauses.consumption import NO_OUTCOME
from domain.pauses.pause import Cancel, Pause, Status
from domain.values.errors import AlreadyResolved, ExecutionConflict, FieldError, Invalid, NotFound
from services.kernel.pagination import Page
from services.pauses.lifecycle import actor
from services.pauses.queries import Filter, list_pauses

# Pauses that one query of a conversation reads.
BATCH = 100


def _problem_document(problem: Problem) -> dict[str, Any]:
    return {"success": False, "error": problem.detail}


_NAMES = {"expiresIn": "metadata.timeout", "arguments": "context.function"}
gohumanloop = Door("gohumanloop", "/compat/gohumanloop/v1/humanloop", _problem_document, names=_NAMES)


@gohumanloop.operation("POST", "/request", Permission.PAUSE_CREATE)
def create_request() -> Response:
    """Hold an approval, a question or a conversation. The client repeats this after each error."""
    return _hold(read_loop(read_object()))


@gohumanloop.operation("POST", "/continue", Permission.PAUSE_CREATE)
def continue_conversation() -> Response:
    """Hold the next turn of a conversation."""
    return _hold(read_loop(read_object(), CONVERSATION))


def _hold(loop: Loop) -> Response:
    gohumanloop.hold(loop.external_id, loop.body, outcome_within=NO_OUTCOME, **loop.wanted)
    return json_response({"success": True, "error": None})


@gohumanloop.operation("GET", "/status", Permission.PAUSE_READ)
def read_status() -> Response:
    try:
        pause = _named(request.args)
    except NotFound as missing:
        return json_response(error_document(missing.detail))
    refused = None
    if pause.status is Status.APPROVED:
        posted = pause.arguments if pause.posted_arguments is None else pause.posted_arguments
        try:
            gohumanloop.use(pause, posted if loop_type_of(pause) == APPROVAL else None)
        except ExecutionConflict as conflict:
            refused = conflict
    return json_response(status_document(pause, refused))


@gohumanloop.operation("POST", "/cancel", Permission.PAUSE_CANCEL)
def cancel_request() -> Response:
    try:
        _cancel(_named(read_object()))
    except NotFound as missing:
        return json_response({"success": False, "error": missing.detail})
    except AlreadyResolved as resolved:
        return json_response({"success": False, "error": f"the request is {resolved.current['status']}"})
    return json_response({"success": True, "error": None})


@gohumanloop.operation("POST", "/cancel_conversation", Permission.PAUSE_CANCEL)
def cancel_conversation() -> Response:
    tag, after = conversation_tag(_text(read_object(), "conversation_id")), None
    wanted = Filter(status=Status.PENDING, tag=tag, door=gohumanloop.door)
    while True:
        page = list_pauses(deps().database, g.principal, wanted, Page(limit=BATCH, after=after))
        for pause in page.items:
            # A key of an admin sees the pauses of other keys too.
            if pause.created_by == g.principal.id:
                # One that was decided meanwhile does not protect the others.
                with suppress(AlreadyResolved):
                    _cancel(pause)
        after = page.next_after
        if after is None:
            return json_response({"success": True, "error": None})


def _cancel(pause: Pause) -> None:
    decide_pause(g.principal, pause.id, Cancel(actor(g.principal)))


@gohumanloop.operation("POST", "/tasks/sync", Permission.PAUSE_CREATE)
def synchronise_tasks() -> Response:
    """Accept the client's copy of its requests. The pauses already are the record."""
    read_object()
    return json_response({"success": True, "error": None})


def _named(fields: Any) -> Pause:
    """Return the caller's request with the two ids. Raise `NotFound`."""
    return gohumanloop.pause(external_id(_text(fields, "conversation_id"), _text(fields, "request_id")))


def _text(fields: Any, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid([FieldError(name, "is required")])
    return value
