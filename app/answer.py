"""JSON that answers a request."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from domain import json_value

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer:
    """A status, headers and a body in one piece.

    Most answers are nothing more, and need no `Response`, which takes as long to make and to send as a route to find.
    """

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._body, self._status = body, _STATUS_LINES[status]
        self._headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *(headers or {}).items()]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> list[bytes]:
        start_response(self._status, self._headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._body]


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(json_value.encode(document).encode(), status, "application/json", headers)


def accepted(document: Any, replayed: bool = False) -> Answer:
    """202, also for the stored answer to a repeated request: what was accepted may still not be done."""
    return answer(document, 202, _replayed(replayed))


def created(document: Any, replayed: bool, location: str | None = None) -> Answer:
    """201, or 200 for the stored answer to a repeated request."""
    headers = _replayed(replayed)
    if location is not None:
        headers["Location"] = location
    return answer(document, 200 if replayed else 201, headers)


def _replayed(replayed: bool) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if replayed else {}
