"""The parts of the OpenAPI document that no single route tells: problems, security, headers, ids, who the API is."""

import json
from collections.abc import Iterable
from copy import deepcopy
from functools import cached_property
from importlib.metadata import version
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
    KEY_ID,
    NOTIFICATION_ID,
    PERSON_ID,
    SPAN_ID,
    TRACE_ID,
    WATCH_ID,
)
from domain.identity.access import NAMESPACE_PATTERN

_PROBLEM_STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503)
_DESCRIPTIONS = {
    400: "the request cannot be read",
    401: "no key, or one that is not good",
    403: "the key's role or namespaces do not allow it",
    404: "nothing there that this key may see",
    409: "not in a state that allows it; `code` names the state, `current` shows the stored outcome where there is one",
    408: "the body did not arrive in time",
    413: "larger than 1 MiB",
    415: "not JSON",
    422: "understood, but `errors` names what in it cannot be used",
    429: "asked for too often; `Retry-After` says when to come back",
    500: "our fault",
    503: "something that we need is away; `Retry-After` says when to come back",
}

# Headers that requests may have; `app.openapi.operation` puts them to the routes that read them.
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 8, "maxLength": 128, "pattern": "^[!-~]{8,128}$"},
    "description": "Send the same key with the same request again, and it is carried out only once: the stored answer "
    "comes back with `Idempotent-Replayed: true`. Scope: the namespace. Kept for 24 hours at least.",
}
IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "the `ETag` of an answer before: 304 as long as nothing has changed",
}
LAST_EVENT_ID = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string"},
    "description": "the id of the last event that was seen: only later ones follow",
}
# Headers that answers have, by their place under components. `Trace-Id` is in every answer.
_HEADERS = {
    "Trace-Id": ("string", "ties the answer to our log: name it when you ask for help"),
    "Location": ("string", "where the new thing is read"),
    "Idempotent-Replayed": ("string", "`true`: this is the stored answer to the same request before"),
    "ETag": ("string", "changes when the pause does"),
    "Retry-After": ("integer", "seconds to wait before trying again"),
    "WWW-Authenticate": ("string", "how to send a key"),
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
    "trace_id": TRACE_ID,
    "step_span_id": SPAN_ID,
}


def path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string", "pattern": pattern}}
        for name, pattern in _PATH_IDS.items()
        if f"{name}>" in path
    ]


# One event of a stream. `data` is the body of the webhook of the same type.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
TEXT_SCHEMAS = {
    "text/event-stream": _EVENT,
    "text/plain": {"type": "string"},
    "application/x-ndjson": {"type": "string", "description": "one JSON document a line"},
}


def headers(names: Iterable[str] = ()) -> dict[str, Any]:
    """Those of an answer, for its documentation."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("Trace-Id", *names)}


class SagaholdApi(Api):  # type: ignore[misc]
    # Every status is documented by name; there is no "anything else".
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """`app.http.problems` has the one place that handles errors."""

    def _openapi_json(self) -> Response:
        """Made once, when it is first asked for."""
        return Response(self._whole, content_type="application/json")

    @cached_property
    def _whole(self) -> str:
        document = complete(deepcopy(self.spec.to_dict()), deps().database.public_url)
        return json.dumps(document, indent=2, ensure_ascii=False)


def build_api(app: Flask) -> SagaholdApi:
    app.config |= {
        "API_TITLE": "Sagahold",
        "API_VERSION": version("sagahold"),
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
    }
    info = {
        "summary": "Holds an AI agent's risky action until a human has decided on it.",
        "description": "Send a key as `Authorization: Bearer hitl_…`. Every refusal is `application/problem+json` with"
        " a stable `code`. POSTs that create take an `Idempotency-Key`.",
    }
    api = SagaholdApi(app, spec_kwargs={"info": info, "security": [{"bearer": []}, {"basic": []}]})
    components = api.spec.components
    components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "description": "hitl_…"})
    components.security_scheme("basic", {"type": "http", "scheme": "basic", "description": "the key as user name"})
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
    sent = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    content = {problems.MEDIA_TYPE: {"schema": schema}}
    return {"description": _DESCRIPTIONS[status], "headers": headers(sent), "content": content}


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "stable: branch on this"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "current": {"type": "object", "description": "with ALREADY_RESOLVED: the pause as it stands"},
        "checks": {"type": "object", "description": "with NOT_READY: what is there and what is not"},
    },
}
