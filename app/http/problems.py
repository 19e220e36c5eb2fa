"""Error responses as `application/problem+json` (RFC 9457) with a stable `code`."""

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, get_args

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app.http.parking import LATE
from domain.sagas.saga import SagaStatus
from domain.sagas.step import StepStatus
from domain.values import errors
from domain.values.errors import (
    AlreadyResolved,
    DomainError,
    ExecutionConflict,
    FieldError,
    Invalid,
    RevisionChanged,
    WrongState,
)
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
KINDS: dict[type[DomainError], int] = {
    errors.DecisionUnknown: 503,
    errors.ReceiptKeyUnavailable: 503,
    errors.TooMany: 429,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidManifest: 400,
    errors.Invalid: 422,
}
# Seconds: enough for a database to restart, without a needless wait.
RETRY_AFTER = "2"
UNAVAILABLE = (
    "The database is unreachable, read-only or too busy: try again; with an Idempotency-Key nothing happens twice"
)


class HTTPProblem(Exception):
    """An error of the HTTP layer, before any domain rule applies."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}


# Every error that becomes a response.
RefusedError = DomainError | HTTPProblem | HTTPException | DatabaseUnavailable


def codes(status: int) -> list[str]:
    """Return all codes that a problem with this status may have."""
    http = {
        400: ["BAD_REQUEST", "MALFORMED_JSON", "KEY_IN_URL", "MALFORMED_IDEMPOTENCY_KEY", "CONFLICTING_FILTERS"],
        401: ["UNAUTHENTICATED"],
        404: ["NO_SUCH_ROUTE"],
        405: ["METHOD_NOT_ALLOWED"],
        408: ["REQUEST_TIMEOUT"],
        409: [f"SAGA_{state}" for state in SagaStatus] + [f"STEP_{state}" for state in StepStatus],
        413: ["BODY_TOO_LARGE"],
        415: ["UNSUPPORTED_MEDIA_TYPE"],
        500: ["INTERNAL_ERROR"],
        503: ["DATABASE_UNAVAILABLE", "NOT_READY"],
    }.get(status, [])
    # The code of a wrong state names the state, not the class.
    domain = [kind.code for kind in _descendants(DomainError) if status_of(kind) == status and kind is not WrongState]
    return list(dict.fromkeys(http + domain))


def install(app: Flask) -> None:
    for kind in get_args(RefusedError):
        app.register_error_handler(kind, response_to)
    app.before_request(_refuse_late)


def _refuse_late() -> None:
    """Refuse a long poll before anything that needs the database, which keeps another run of it waiting."""
    if LATE in request.environ:
        raise DatabaseUnavailable("it did not answer in time")


def response_to(error: RefusedError) -> Response:
    match error:
        case DomainError():
            return domain_error(error)
        case HTTPProblem():
            return problem(error.status, error.code, error.detail, headers=error.headers)
        case HTTPException():
            return refused_by_flask(error)
        case DatabaseUnavailable():
            return _database(error)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field_errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    body = problem_document(status, code, detail, field_errors, **more)
    text = json.dumps(body, ensure_ascii=False)
    return Response(text.encode("utf-8", "replace"), status, headers, content_type=MEDIA_TYPE)


def problem_document(
    status: int, code: str, detail: str, field_errors: Sequence[FieldError] = (), **more: Any
) -> dict[str, Any]:
    """Return a problem's body. `detail` names the first field error, because some clients show nothing else."""
    body: dict[str, Any] = {
        "type": f"urn:sagahold:problem:{code.lower().replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _first_of(field_errors) if field_errors else detail,
        "code": code,
    }
    if field_errors:
        body["errors"] = [{"path": each.path, "message": each.message} for each in field_errors]
    return body | more


def _first_of(field_errors: Sequence[FieldError]) -> str:
    """Return a summary like `limit: must be 1 to 100 (and 2 more)`."""
    first, *others = field_errors
    message = first.message.rstrip(".")
    if message[1:2].islower():
        message = message[:1].lower() + message[1:]
    place = f"{first.path}: " if first.path else ""
    return f"{place}{message}" + (f" (and {len(others)} more)" if others else "")


def domain_error(error: DomainError) -> Response:
    (status, code, detail), more = _parts(error)
    return problem(status, code, detail, headers=headers_of(error), **more)


def headers_of(error: DomainError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after)} if isinstance(error, errors.TooMany) else {}


def refusal_document(error: DomainError) -> dict[str, Any]:
    """Return the problem of one of several items in a request."""
    (status, code, detail), more = _parts(error)
    return problem_document(status, code, detail, **more)


def _parts(error: DomainError) -> tuple[tuple[int, str, str], dict[str, Any]]:
    field_errors = error.field_errors if isinstance(error, Invalid) else ()
    current = error.current if isinstance(error, AlreadyResolved | RevisionChanged | ExecutionConflict) else None
    more = {} if current is None else {"current": current}
    return (status_of(type(error)), error.code, error.detail), {"field_errors": field_errors, **more}


def refused_by_flask(error: HTTPException) -> Response:
    """Return the response to an error that Flask or Werkzeug raised."""
    status = error.code or 500
    code = {404: "NO_SUCH_ROUTE", 405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT", 413: "BODY_TOO_LARGE"}.get(
        status, "BAD_REQUEST"
    )
    detail = {
        404: f"there is no route {request.path[:200]}; /docs lists the routes",
        405: f"this route does not support the method {request.method}",
        413: "the body is larger than 1 MiB",
    }.get(status, error.description or error.name)
    if status >= 500:
        return _unexpected(error)
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return problem(status, code, detail, headers=headers)


def _database(error: DatabaseUnavailable) -> Response:
    log.warning("database unavailable: %s", error)
    return problem(503, "DATABASE_UNAVAILABLE", UNAVAILABLE, headers={"Retry-After": RETRY_AFTER})


def log_unexpected(error: HTTPException) -> None:
    """Log an unhandled error. Its text may quote a request or a row, so only the log gets it, never the client."""
    log.error("unexpected error", exc_info=getattr(error, "original_exception", None) or error)


def _unexpected(error: HTTPException) -> Response:
    log_unexpected(error)
    return problem(500, "INTERNAL_ERROR", "this is a bug in Sagahold; the server's log has the details")


def status_of(kind: type[DomainError]) -> int:
    return next((status for known, status in KINDS.items() if issubclass(kind, known)), 500)


def _descendants(kind: type[DomainError]) -> list[type[DomainError]]:
    return [found for child in kind.__subclasses__() for found in (child, *_descendants(child))]
