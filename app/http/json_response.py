"""JSON responses."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from domain.values import canonical_json


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(canonical_json.encode(document), status, headers, content_type="application/json")


def accepted(document: Any, replayed: bool = False) -> Response:
    """Return 202, also for a replayed response, because the work may not be done yet."""
    return json_response(document, 202, _replayed(replayed))


def created(document: Any, replayed: bool, location: str | None = None) -> Response:
    """Return 201, or 200 for a replayed response."""
    headers = _replayed(replayed)
    if location is not None:
        headers["Location"] = location
    return json_response(document, 200 if replayed else 201, headers)


def replayable(document: Any, replayed: bool) -> Response:
    """Return 200 for a request that takes effect only once."""
    return json_response(document, headers=_replayed(replayed))


def _replayed(replayed: bool) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if replayed else {}
