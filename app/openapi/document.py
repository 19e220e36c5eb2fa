"""The parts of the OpenAPI document that routes share: problems, security, headers, ids and general information."""

import json
from collections.abc import Iterable
from copy import deepcopy
from functools import cached_property
from typing import Any

from flask import Flask, Response
from flask_smorest import Api

from app.deps import deps
from app.http import problems
from app.openapi.contract import complete
from app.schemas.fields import (
    DEFINITION_ID,
    DELIVERY_ID,
    ENDPOINT_ID,
    HOLD_ID,
    KEY_ID,
    NOTIFICATION_ID,
    PERSON_ID,
    SPAN_ID,
    TRACE_ID,
    WATCH_ID,
)
from domain.identity.access import NAMESPACE_PATTERN
from domain.values.version import VERSION

_PROBLEM_STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503)
_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "The key is missing or invalid.",
    403: "The key's role or namespaces do not permit the operation.",
    404: "The object does not exist, or the key may not see it.",
    409: "The current state does not permit the operation. `code` names the state; `current` shows a stored outcome.",
    408: "The body did not arrive in time.",
    413: "The body is larger than 1 MiB.",
    415: "The body is not JSON.",
    422: "The request has invalid fields, which `errors` lists.",
    429: "There were too many requests. `Retry-After` gives the time to wait.",
    500: "A bug in Sagahold; the server's log has the details.",
    503: "A required service is unavailable. `Retry-After` gives the time to wait.",
}

# Request headers; `app.openapi.operation` adds them to the operations that read them.
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 8, "maxLength": 128, "pattern": "^[!-~]{8,128}$"},
    "description": "Makes a repeated request take effect only once: the repetition gets the stored response with "
    "`Idempotent-Replayed: true`. A key is valid within its namespace and stored for at least 24 hours.",
}
CONSUMPTION_KEY = {
    **IDEMPOTENCY_KEY,
    "required": True,
    "description": "Identifies this use of the approval. The same key always gets the same answer, another key gets 409"
    " `ALREADY_CONSUMED`. Derive it from the action, so that a restarted agent sends the same key. A repeated answer"
    " has `Idempotent-Replayed: true`: the action may have run.",
}
IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier response. The response is 304 if nothing has changed.",
}
LAST_EVENT_ID = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string"},
    "description": "The id of the last event that the client received. The stream continues after it.",
}
# Response headers, by their names under components. Every response has `Trace-Id`.
_HEADERS = {
    "Trace-Id": ("string", "The trace id of the request in the server's log. Include it when you ask for help."),
    "Location": ("string", "The URL of the new object."),
    "Idempotent-Replayed": ("string", "`true` if this is the stored response to an earlier identical request."),
    "ETag": ("string", "The version of the pause."),
    "Retry-After": ("integer", "The seconds to wait before the next request."),
    "WWW-Authenticate": ("string", "The authentication scheme."),
}
_PATH_IDS = {
    "watch_id": WATCH_ID,
    "endpoint_id": ENDPOINT_ID,
    "delivery_id": DELIVERY_ID,
    "notification_id": NOTIFICATION_ID,
    "key_id": KEY_ID,
    "person_id": PERSON_ID,
    "group_name": NAMESPACE_PATTERN,
    "namespace": NAMESPACE_PATTERN,
    "definition_id": DEFINITION_ID,
    "hold_id": HOLD_ID,
    "trace_id": TRACE_ID,
    "step_span_id": SPAN_ID,
}


def path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string", "pattern": pattern}}
        for name, pattern in _PATH_IDS.items()
        if f"{name}>" in path
    ]


# An event of a stream. `data` is the body of the webhook of the same type.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
TEXT_SCHEMAS = {
    "text/event-stream": _EVENT,
    "text/plain": {"type": "string"},
    "application/jose": {"type": "string", "description": "A compact JWS (RFC 7515)."},
    "application/x-ndjson": {"type": "string", "description": "One JSON document per line."},
}


def headers(names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the documentation of a response's headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("Trace-Id", *names)}


class SagaholdApi(Api):  # type: ignore[misc]
    # Each operation documents all its statuses, so there is no default response.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """Register nothing: `app.http.problems` handles errors."""

    def _openapi_json(self) -> Response:
        """Return the document, which the first request generates."""
        return Response(self._document, content_type="application/json")

    @cached_property
    def _document(self) -> str:
        document = complete(deepcopy(self.spec.to_dict()), deps().database.public_url)
        return json.dumps(document, indent=2, ensure_ascii=False)


def build_api(app: Flask) -> SagaholdApi:
    app.config |= {
        "API_TITLE": "Sagahold",
        "API_VERSION": VERSION,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
    }
    info = {
        "summary": "Holds an AI agent's risky action until a human has decided on it.",
        "description": "Send a key as `Authorization: Bearer hitl_…`. Errors are `application/problem+json` with a"
        " stable `code`. POST requests that create an object accept an `Idempotency-Key`.",
    }
    api = SagaholdApi(app, spec_kwargs={"info": info, "security": [{"bearer": []}, {"basic": []}]})
    components = api.spec.components
    components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "description": "An API key: `hitl_…`."})
    components.security_scheme(
        "basic", {"type": "http", "scheme": "basic", "description": "An API key as the user name."}
    )
    for name, (kind, meaning) in _HEADERS.items():
        components.header(name, {"description": meaning, "schema": {"type": kind}})
    components.schema("Problem", {**_PROBLEM})
    for status in _PROBLEM_STATUSES:
        components.response(f"Problem{status}", _response(status))
    return api


def _response(status: int) -> dict[str, Any]:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"code": {"enum": problems.codes(status)}, "status": {"enum": [status]}}},
        ]
    }
    names = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    content = {problems.MEDIA_TYPE: {"schema": schema}}
    return {"description": _DESCRIPTIONS[status], "headers": headers(names), "content": content}


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "A stable code for programs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "current": {"type": "object", "description": "The current state of the pause, where it explains the conflict."},
        "checks": {"type": "object", "description": "The results of the checks, with NOT_READY."},
    },
}
