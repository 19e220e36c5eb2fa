"""The decorator of operations: permission, parameters and responses, for the route and for the OpenAPI document."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

from flask import Response, request
from marshmallow import Schema

from app.http.arguments import Blueprint, has_required
from app.http.auth import authorize
from app.http.problems import HTTPProblem
from app.openapi.document import IDEMPOTENCY_KEY, TEXT_SCHEMAS, headers, path_parameters
from domain.identity.access import Permission
from domain.values import canonical_json
from domain.values.errors import FieldError, Invalid
from services.kernel.idempotency import IdempotentRequest

_REPLAYED = ("Idempotent-Replayed",)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,128}")

View = Callable[..., Response]


def operation(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    permission: Permission | None,
    answers: Mapping[int, type[Schema] | str | None],
    body: type[Schema] | None = None,
    example: Mapping[str, Any] | None = None,
    query: type[Schema] | None = None,
    reads: Sequence[Mapping[str, Any]] = (),
    sends: Sequence[str] = (),
    creates: bool = False,
    refuses: Iterable[int] = (),
) -> Callable[[View], View]:
    """Register the view under `path`. The view receives the query, the body, and the path's parts by name.

    Args:
        permission: the required permission; None admits every caller.
        answers: the schema of each successful status, or the media type of a response that is not JSON. The first
            status is the usual one.
        example: an example of the body.
        reads: request headers, as OpenAPI parameters.
        sends: names of further headers in successful responses.
        creates: accept an Idempotency-Key.
        refuses: statuses of errors besides those that all such operations have.
    """

    def decorate(view: View) -> View:
        documented = view
        statuses = {400, 500, 503, *refuses}
        if permission is not None:
            statuses |= {401, 403}
        if body is not None:
            statuses |= {400, 408, 413, 415, 422}
            arguments = blueprint.arguments(body(), location="json", required=has_required(body()), example=example)
            documented = arguments(documented)
        if query is not None:
            statuses |= {422}
            documented = blueprint.arguments(query(), location="query")(documented)
        for status, schema in answers.items():
            documented = _answers(blueprint, status, schema, [*sends, *_REPLAYED] if creates else sends)(documented)
        # Each `alt_response` would add a wrapper to every request.
        problems = {status: f"Problem{status}" for status in sorted(statuses)}
        more: dict[str, Any] = {"operationId": view.__name__, "x-permission": permission, "responses": problems}
        if permission is None:
            more["security"] = []
        guarded = _guard(blueprint.doc(**more)(documented), permission)
        _add_parameters(guarded, [*reads, IDEMPOTENCY_KEY] if creates else reads)
        blueprint.route(path, methods=[method], parameters=path_parameters(path))(guarded)
        return view

    return decorate


def _answers(blueprint: Blueprint, status: int, schema: type[Schema] | str | None, sends: Sequence[str]) -> Any:
    if isinstance(schema, str):
        return blueprint.response(status, TEXT_SCHEMAS[schema], content_type=schema, headers=headers(sends))
    return blueprint.response(status, schema, headers=headers(sends))


def _add_parameters(view: Any, parameters: Iterable[Mapping[str, Any]]) -> None:
    """Add parameters to those of the query, in the place where flask-smorest's decorators put theirs."""
    documented = view._apidoc.setdefault("arguments", {}).setdefault("parameters", [])
    documented.extend(dict(parameter) for parameter in parameters)


def idempotent_request() -> IdempotentRequest | None:
    """Return the caller's Idempotency-Key, bound to a digest of this request."""
    key = _idempotency_key()
    if key is None:
        return None
    # Sorted keys and one form for each number: the same JSON in another notation repeats the request.
    value = json.loads(request.get_data() or b"null", parse_float=_number)
    body = json.dumps(value, sort_keys=True, separators=(",", ":"))
    text = f"{request.method} {request.path}\n{body}"
    return IdempotentRequest(key, hashlib.sha256(text.encode("utf-8", "replace")).digest())


def required_key(why: str) -> str:
    """Return the caller's Idempotency-Key. Raise `Invalid` without one; `why` ends its message."""
    key = _idempotency_key()
    if key is None:
        raise Invalid([FieldError("Idempotency-Key", f"is a required header here: {why}")])
    return key


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        detail = "an Idempotency-Key must have 8 to 128 printable ASCII characters without blanks"
        raise HTTPProblem(400, "MALFORMED_IDEMPOTENCY_KEY", detail)
    return key


def _number(text: str) -> int | float:
    """Normalise a number as RFC 8785 does: 1.0, 1e0 and 1 are equal, and so are 0 and -0.0."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= canonical_json.MAX_INTEGER else value


def _guard(view: View, permission: Permission | None) -> View:
    """Check the permission before the request's query and body are read."""

    @wraps(view)
    def guarded(**parts: str) -> Response:
        if permission is not None:
            authorize(request, permission)
        return view(**parts)

    guarded.permission = permission  # type: ignore[attr-defined]
    return guarded
