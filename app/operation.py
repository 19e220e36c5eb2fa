"""One decorator for a route: who may, what it takes, what it answers; and the OpenAPI document from the same words."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import Response, request
from flask_smorest import Blueprint
from marshmallow import Schema, ValidationError
from marshmallow.fields import List
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import Headers

from app.auth import authorize
from app.json_body import read_json
from app.openapi import IDEMPOTENCY_KEY, TEXT_SCHEMAS, headers, path_parameters
from app.problems import EdgeError
from domain import json_value
from domain.access import Permission
from domain.errors import Fault, Invalid
from services.idempotency import Once

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_REPLAYED = ("Idempotent-Replayed",)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,128}")


class StrictParser(FlaskParser):
    """Fields that nobody reads are refused: a misspelt one must not pass silently."""

    def __init__(self) -> None:
        super().__init__()
        self.DEFAULT_UNKNOWN_BY_LOCATION = {"json": "raise", "query": "raise"}

    def load_json(self, req: Any, schema: Schema) -> Any:
        return read_json(req, required=_has_required(schema))

    def load_querystring(self, req: Any, schema: Schema) -> Any:
        found = [fault for name, value in req.args.items(multi=True) for fault in json_value.text_faults(value, name)]
        lists = {field.data_key or name for name, field in schema.fields.items() if isinstance(field, List)}
        twice = [name for name, values in req.args.lists() if len(values) > 1 and name not in lists]
        found += [Fault(name[:200], "is given twice") for name in twice]
        if found:
            raise Invalid(found)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> None:  # type: ignore[override]
        messages = error.messages_dict
        raise Invalid([fault for part in messages.values() for fault in _faults("", part)][:20])


Blueprint.ARGUMENTS_PARSER = StrictParser()


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
) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Register the view under `path`. It gets the query, then the body, then the path's parts by name.

    Args:
        permission: None lets everyone in.
        answers: statuses and schemas, or the media type of what is not JSON; the first is the usual one.
        example: of the body.
        reads: request headers, as OpenAPI parameters.
        sends: names of headers that successful answers have beside the usual ones.
        creates: takes an Idempotency-Key.
        refuses: statuses of refusals, beside those that every such route has.
    """

    def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
        documented = view
        statuses = {500, 503, *refuses}
        if permission is not None:
            statuses |= {400, 401, 403}
        if body is not None:
            statuses |= {400, 413, 415, 422}
            arguments = blueprint.arguments(body(), location="json", required=_has_required(body()), example=example)
            documented = arguments(documented)
        if query is not None:
            statuses |= {422}
            documented = blueprint.arguments(query(), location="query")(documented)
        for status, schema in answers.items():
            documented = _answers(blueprint, status, schema, [*sends, *_REPLAYED] if creates else sends)(documented)
        for status in sorted(statuses):
            documented = blueprint.alt_response(status, response=f"Problem{status}")(documented)
        more: dict[str, Any] = {"operationId": view.__name__, "x-permission": permission}
        if permission is None:
            more["security"] = []
        guarded = _serve(view, blueprint.doc(**more)(documented), permission, query, body)
        _add_parameters(guarded, [*reads, IDEMPOTENCY_KEY] if creates else reads)
        blueprint.route(path, methods=[method], parameters=path_parameters(path))(guarded)
        return view

    return decorate


def _answers(blueprint: Blueprint, status: int, schema: type[Schema] | str | None, sends: Sequence[str]) -> Any:
    if isinstance(schema, str):
        return blueprint.response(status, TEXT_SCHEMAS[schema], content_type=schema, headers=headers(sends))
    return blueprint.response(status, schema, headers=headers(sends))


def _add_parameters(view: Any, parameters: Iterable[Mapping[str, Any]]) -> None:
    """Beside those of the query, in flask-smorest's place for what decorators document."""
    documented = view._apidoc.setdefault("arguments", {}).setdefault("parameters", [])
    documented.extend(dict(parameter) for parameter in parameters)


def once() -> Once | None:
    """The caller's Idempotency-Key, bound to this very request."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        detail = "an Idempotency-Key has 8 to 128 printable ASCII characters, without blanks"
        raise EdgeError(400, "MALFORMED_IDEMPOTENCY_KEY", detail)
    # Parsed and sorted: a client that writes the same JSON with other blanks repeats the same request.
    body = json.dumps(json.loads(request.get_data() or b"null"), sort_keys=True, separators=(",", ":"))
    said = f"{request.method} {request.path}\n{body}"
    return Once(key, hashlib.sha256(said.encode("utf-8", "replace")).digest())


class _Answer(Response):
    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """As they are: a Location is a whole URL of ours already, which werkzeug would take apart to look."""
        return super().get_wsgi_headers(environ) if self.status_code == 304 else self.headers


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return _Answer(json_value.encode(document), status, headers, content_type="application/json")


def accepted(document: Any, replayed: bool = False) -> Response:
    """202, also for the stored answer to a repeated request: what was accepted may still not be done."""
    return answer(document, 202, _replayed(replayed))


def created(document: Any, replayed: bool, location: str | None = None) -> Response:
    """201, or 200 for the stored answer to a repeated request."""
    headers = _replayed(replayed)
    if location is not None:
        headers["Location"] = location
    return answer(document, 200 if replayed else 201, headers)


def _replayed(replayed: bool) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if replayed else {}


def _serve(
    view: Callable[..., Response],
    documented: Callable[..., Response],
    permission: Permission | None,
    query: type[Schema] | None,
    body: type[Schema] | None,
) -> Callable[..., Response]:
    """What is registered: documented by flask-smorest's wrappers, but not run through them.

    They are one a possible status and take as long as the rest of the edge; what they would do is done here.
    """
    inputs = [(schema(), location) for schema, location in ((query, "query"), (body, "json")) if schema is not None]
    parser = Blueprint.ARGUMENTS_PARSER

    @wraps(documented)
    def served(**parts: str) -> Response:
        # Itself, not through its proxy, which takes longer to ask than the answer.
        asked = request._get_current_object()  # type: ignore[attr-defined]
        if permission is not None:
            authorize(asked, permission)
        return view(*(parser.parse(schema, asked, location=location) for schema, location in inputs), **parts)

    served.permission = permission  # type: ignore[attr-defined]
    return served


def _has_required(schema: Schema) -> bool:
    return any(field.required for field in schema.fields.values())


def _faults(path: str, messages: Any) -> list[Fault]:
    """From marshmallow's tree of messages to a flat list with paths."""
    if isinstance(messages, dict):
        return [fault for key, part in messages.items() for fault in _faults(_join(path, key), part)]
    texts = messages if isinstance(messages, list) else [messages]
    return [Fault(path, str(text)) for text in texts]


def _join(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key == "_schema":
        return path
    return f"{path}.{key}" if path else str(key)
