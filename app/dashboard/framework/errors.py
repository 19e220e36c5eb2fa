"""Error pages for people."""

import logging
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from app.dashboard.framework.page_decorator import dashboard, render
from app.http import problems
from domain.values.errors import DomainError, Invalid
from services.identity.login_throttle import TooManyAttempts
from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

_TITLES = {
    400: "The request cannot be read",
    403: "You may not do this",
    404: "Not found",
    408: "The request took too long",
    409: "The request conflicts with the current state",
    413: "The request is too large",
    422: "The form has errors",
    429: "Too many attempts",
    503: "Temporarily unavailable",
}

# Paths without pages.
_API_PATHS = ("/api", "/v1")


def error_page(status: int, detail: str, field_errors: Any = (), headers: dict[str, str] | None = None) -> Response:
    title = _TITLES.get(status, "Something went wrong")
    response = render("error.html", status, title=title, detail=detail, field_errors=field_errors)
    response.headers.update(headers or {})
    return response


def _domain_error(error: DomainError) -> Response:
    field_errors = error.field_errors if isinstance(error, Invalid) else ()
    return error_page(
        problems.status_of(type(error)), _sentence(error.detail), field_errors, problems.headers_of(error)
    )


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status >= 500 and not isinstance(error, ServiceUnavailable):
        return _unexpected(error)
    headers = {name: value for name, value in error.get_headers() if name == "Retry-After"}
    return error_page(status, _sentence(error.description or error.name), headers=headers)


@dashboard.app_errorhandler(404)
def _nowhere(error: HTTPException) -> Response:
    """Answer a path without a route: a page for a browser, a problem document for a program."""
    media_types = (problems.MEDIA_TYPE, "application/json", "text/html")
    program = request.accept_mimetypes.best_match(media_types, problems.MEDIA_TYPE) != "text/html"
    if program or request.path.startswith(_API_PATHS):
        return problems.refused_by_flask(error)
    return error_page(404, "There is no page at this address. It may be incomplete or mistyped.")


def _too_many(error: TooManyAttempts) -> Response:
    detail = f"Wait {error.retry_after} seconds, or ask an admin for a sign-in link."
    return error_page(429, detail, headers={"Retry-After": str(error.retry_after)})


def _database(error: DatabaseUnavailable) -> Response:
    log.warning("database unavailable: %s", error)
    detail = "The database is unreachable or accepts no changes. Nothing is lost; try again in a moment."
    return error_page(503, detail, headers={"Retry-After": problems.RETRY_AFTER})


def _unexpected(error: HTTPException) -> Response:
    problems.log_unexpected(error)
    return error_page(500, "This is a bug in Sagahold. The server's log has the details.")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


for kind, handler in (
    (DomainError, _domain_error),
    (HTTPException, _http),
    (TooManyAttempts, _too_many),
    (DatabaseUnavailable, _database),
):
    dashboard.register_error_handler(kind, handler)
