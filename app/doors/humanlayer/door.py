"""The API of HumanLayer's SDKs, version 0.7.9: approvals of function calls, and questions to people.

These clients have no request for using an approval and none for its outcome. The door uses it when it first answers
`approved: true`, and no outcome is due. They execute the arguments that they sent, so the door answers an edit with
`approved: false` and a comment.
"""

from typing import Any, NoReturn

from flask import Response

from app.doors.door import Door, Problem, read_object
from app.doors.humanlayer import answers, calls
from app.http.json_response import created, json_response
from domain.identity.access import Permission
from domain.pauses.consumption import NO_OUTCOME
from domain.pauses.pause import Pause, Status
from domain.values.errors import ExecutionConflict, FieldError, Forbidden, Invalid, PolicyUnsatisfiable

CALL, CONTACT = "function_call:", "human_contact:"


def _problem_document(problem: Problem) -> dict[str, Any]:
    return {"code": problem.code, "detail": problem.detail}


humanlayer = Door("humanlayer", "/compat/humanlayer/v1", _problem_document)


@humanlayer.operation("POST", "/function_calls", Permission.PAUSE_CREATE)
def create_function_call() -> Response:
    call = calls.function_call(read_object())
    pause, repeated = _hold(CALL, call)
    return created(_function_call(call.id, pause), repeated)


@humanlayer.operation("GET", "/function_calls/<call_id>", Permission.PAUSE_READ)
def get_function_call(call_id: str) -> Response:
    return json_response(_function_call(call_id, humanlayer.pause(CALL + call_id)))


@humanlayer.operation("POST", "/contact_requests", Permission.PAUSE_CREATE)
def create_contact_request() -> Response:
    call = calls.human_contact(read_object())
    pause, repeated = _hold(CONTACT, call)
    return created(_human_contact(call.id, pause), repeated)


@humanlayer.operation("GET", "/contact_requests/<call_id>", Permission.PAUSE_READ)
def get_contact_request(call_id: str) -> Response:
    return json_response(_human_contact(call_id, humanlayer.pause(CONTACT + call_id)))


@humanlayer.operation("POST", "/agent/function_calls/<call_id>/respond", Permission.PAUSE_DECIDE)
def respond_to_function_call(call_id: str) -> Response:
    _refuse(CALL + call_id, _DECIDES)


@humanlayer.operation("POST", "/agent/human_contacts/<call_id>/respond", Permission.PAUSE_DECIDE)
def respond_to_human_contact(call_id: str) -> Response:
    _refuse(CONTACT + call_id, _DECIDES)


@humanlayer.operation("POST", "/agent/function_calls/<call_id>/escalate_email", Permission.PAUSE_CREATE)
def escalate_function_call(call_id: str) -> Response:
    _refuse(CALL + call_id, _ESCALATES)


@humanlayer.operation("POST", "/agent/human_contacts/<call_id>/escalate_email", Permission.PAUSE_CREATE)
def escalate_human_contact(call_id: str) -> Response:
    _refuse(CONTACT + call_id, _ESCALATES)


_DECIDES = "the key that made a request never decides on it: a reviewer decides on the dashboard"
_ESCALATES = (
    "an agent does not choose who else may decide: set `escalate` and `remind_after` in the approval policy of the"
    " namespace"
)


def _refuse(id_: str, why: str) -> NoReturn:
    """Raise `Forbidden` for the caller's own request, and `NotFound` for every other."""
    humanlayer.pause(id_)
    raise Forbidden(why)


def _hold(table: str, call: calls.Call) -> tuple[Pause, bool]:
    """Return the pause of the request, and whether it was there before."""
    # Only a person who may decide can be meant, so the address never adds a voter.
    review = None if call.address is None else {"assignees": [call.address]}
    try:
        return humanlayer.hold(table + call.id, call.spec, review=review, outcome_within=NO_OUTCOME, **call.wanted)
    except PolicyUnsatisfiable as unsatisfiable:
        if call.address is None:
            raise
        found = unsatisfiable.field_errors[0].message
        raise Invalid(
            [FieldError("spec.channel.email.address", f"must be the address of a reviewer of the namespace: {found}")]
        ) from None


def _function_call(call_id: str, pause: Pause) -> dict[str, Any]:
    spec = answers.spec_of(pause)
    refused = None
    if pause.status is Status.APPROVED and answers.chosen_option(pause) is None:
        try:
            humanlayer.use(pause, spec.get("kwargs") or {})
        except ExecutionConflict as conflict:
            refused = conflict
    return answers.document(call_id, pause, answers.function_call_status(pause, refused))


def _human_contact(call_id: str, pause: Pause) -> dict[str, Any]:
    refused = None
    if pause.status is Status.APPROVED:
        try:
            humanlayer.use(pause)
        except ExecutionConflict as conflict:
            refused = conflict
    return answers.document(call_id, pause, answers.human_contact_status(pause, refused))
