"""The parts of the OpenAPI document that no single route tells: problems, security, who the API is."""

from typing import Any

from flask import Flask
from flask_smorest import Api

from app import problems

_PROBLEM_STATUSES = (400, 401, 403, 404, 409, 413, 415, 422, 500, 503)
_DESCRIPTIONS = {
    400: "the request cannot be read",
    401: "no key, or one that is not good",
    403: "the key's role or namespaces do not allow it",
    404: "nothing there that this key may see",
    409: "not in a state that allows it; `current` shows the stored outcome where there is one",
    413: "larger than 1 MiB",
    415: "not JSON",
    422: "understood, but `errors` names what in it cannot be used",
    500: "our fault",
    503: "something that we need is away; `Retry-After` says when to come back",
}


class SagaholdApi(Api):  # type: ignore[misc]
    # Every status is documented by name; there is no "anything else".
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """`app.problems` has the one place that handles errors."""


def build_api(app: Flask) -> SagaholdApi:
    app.config |= {
        "API_TITLE": "Sagahold",
        "API_VERSION": "0.1.0",
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
    }
    info = {"description": "Holds an AI agent's risky action until a human has decided on it."}
    api = SagaholdApi(app, spec_kwargs={"info": info, "security": [{"bearer": []}, {"basic": []}]})
    components = api.spec.components
    components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "description": "hitl_…"})
    components.security_scheme("basic", {"type": "http", "scheme": "basic", "description": "the key as user name"})
    components.schema("Problem", {**_PROBLEM})
    for status in _PROBLEM_STATUSES:
        components.response(f"Problem{status}", _response(status))
    return api


def _response(status: int) -> dict[str, Any]:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"code": {"enum": problems.codes(status)}, "status": {"const": status}}},
        ]
    }
    return {"description": _DESCRIPTIONS[status], "content": {problems.MEDIA_TYPE: {"schema": schema}}}


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
