"""`/aap`: create, read, cancel and consume an approval request, and report its outcome."""

import re
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from flask import Response, g, request

from adapters.process.logs import trace_id
from app.deps import deps
from app.doors.aap.submission import read_duration, read_submission, window
from app.doors.aap.wire import APPROVED, CANCELLED, PENDING, ApprovalRequest, submitted_digest
from app.doors.door import Door, Problem, read_object
from app.http import long_poll
from app.http.decisions import decide_pause
from app.http.problems import HTTPProblem
from domain.identity.access import Permission
from domain.pauses.consumption import MAX_NOTE, ExecutionStatus
from domain.pauses.pause import Cancel, Pause
from domain.values import canonical_json
from domain.values.errors import AlreadyResolved, Conflict, FieldError, Invalid, NotApproved, NotFound
from services.pauses import execution
from services.pauses.lifecycle import actor, get_pause

MAX_WAIT = timedelta(seconds=30)
_NOT_FOUND = "there is no request with this id that this credential has made"
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_TYPES = {401: "authentication", 403: "authorization", 404: "not_found", 409: "conflict", 429: "rate_limit"}
_CODES = {"CONFLICT": "idempotency_conflict", "VALIDATION_FAILED": "invalid_request"}


def _problem_document(problem: Problem) -> dict[str, object]:
    type_ = _TYPES.get(problem.status) or {500: "internal", 503: "dependency"}.get(problem.status, "invalid_request")
    code = _CODES.get(problem.code, problem.code.lower())
    return {"error": {"type": type_, "code": code, "message": problem.detail, "request_id": _request_id()}}


# The protocol has no 422 for an invalid field.
aap = Door("aap", "/aap", _problem_document, statuses={422: 400}, names={"expiresIn": "timeout"})


@aap.after_request
def _with_request_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = _request_id()
    return response


def _request_id() -> str:
    return str(UUID(hex=trace_id.get()))


@aap.operation("POST", "/v1/requests", Permission.PAUSE_CREATE)
def create_request() -> Response:
    """Hold the tool call. A repetition of the key gets the request in its present state."""
    key, submission = _idempotency_key(), read_submission()
    digest = canonical_json.digest(submission.fields).hex()
    earlier = aap.find(key)
    if earlier is None:
        pause, repeated = aap.hold(
            key,
            {"json": submission.text, "digest": digest},
            action=submission.action,
            arguments=submission.fields["arguments"],
            context=submission.context,
            expires=window(submission.fields["timeout"]),
            metadata={"client": submission.client},
        )
        return _answer(_request_of(pause), 200 if repeated else 201)
    # Neither blanks nor the order of keys make another request.
    if submitted_digest(earlier) != digest:
        raise Conflict("this Idempotency-Key belongs to another request: use a new key for each execution attempt")
    return _answer(_request_of(earlier))


@aap.operation("GET", "/v1/requests/<request_id>", Permission.PAUSE_READ)
def read_request(request_id: str) -> Response:
    """Return the request; with `wait`, as soon as it is decided or the time is over."""
    found, wait = _own(request_id), request.args.get("wait")
    if wait is None:
        return _answer(found)
    try:
        seconds = min(read_duration(wait), MAX_WAIT).total_seconds()
    except ValueError as error:
        raise Invalid([FieldError("wait", str(error))]) from None
    pause, held = long_poll.hold(found.pause.id, seconds)
    response = _answer(_request_of(pause))
    if not held:
        response.headers["Retry-After"] = "2"
    return response


@aap.operation("DELETE", "/v1/requests/<request_id>", Permission.PAUSE_CANCEL)
def cancel_request(request_id: str) -> Response:
    """Take the request back while it is pending."""
    found = _own(request_id)
    if found.status == PENDING:
        # If a decision was first, the status below tells which.
        with suppress(AlreadyResolved):
            decide_pause(g.principal, found.pause.id, Cancel(actor(g.principal)))
        found = _own(request_id)
    if found.status != CANCELLED:
        raise HTTPProblem(409, "ALREADY_TERMINAL", f"the request is {found.status}, which does not change")
    return _answer(found)


@aap.operation("POST", "/v1/requests/<request_id>/consume", Permission.PAUSE_CONSUME)
def consume_request(request_id: str) -> Response:
    """Use the approval, once. The approval of edited arguments is a denial here, and is not used."""
    key, found = _idempotency_key(), _own(request_id)
    if found.status != APPROVED:
        raise NotApproved(f"the request is {found.status}: do not run the call")
    execution.consume_pause(deps().database, g.principal, found.pause.id, key)
    return _answer(_own(request_id))


@aap.operation("POST", "/v1/requests/<request_id>/outcome", Permission.PAUSE_CONSUME)
def report_outcome(request_id: str) -> Response:
    """Record the outcome of the call."""
    found, body = _own(request_id), read_object()
    note = body.get("note")
    wrong = [FieldError(name[:200], "is no field of an outcome") for name in body if name not in ("status", "note")]
    if body.get("status") not in ("succeeded", "failed"):
        wrong.append(FieldError("status", "must be succeeded or failed"))
    if "note" in body and not (isinstance(note, str) and 0 < len(note) <= MAX_NOTE):
        wrong.append(FieldError("note", f"must be a text of 1 to {MAX_NOTE} characters"))
    if wrong:
        raise Invalid(wrong)
    outcome = execution.OutcomeReport(ExecutionStatus(body["status"]), note)
    execution.report_outcome(deps().database, g.principal, found.pause.id, outcome)
    return _answer(_own(request_id))


def _idempotency_key() -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        raise HTTPProblem(400, "MISSING_IDEMPOTENCY_KEY", "send an Idempotency-Key, one for each execution attempt")
    if not _KEY.fullmatch(key):
        detail = "an Idempotency-Key must have 1 to 200 printable ASCII characters without blanks"
        raise HTTPProblem(400, "MALFORMED_IDEMPOTENCY_KEY", detail)
    return key


def _own(request_id: str) -> ApprovalRequest:
    """Return the caller's request. Raise `NotFound` for others."""
    try:
        pause = get_pause(deps().database, g.principal, UUID(request_id))
    except (ValueError, NotFound):
        raise NotFound(_NOT_FOUND) from None
    return _request_of(pause)


def _request_of(pause: Pause) -> ApprovalRequest:
    found = ApprovalRequest.of(pause)
    if found is None or pause.created_by != g.principal.id or (pause.metadata or {}).get("door") != aap.door:
        raise NotFound(_NOT_FOUND)
    return found


def _answer(found: ApprovalRequest, status: int = 200) -> Response:
    return Response(found.text(), status, content_type="application/json")
