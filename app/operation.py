"""One decorator for a route: who may, what it takes, what it answers; and the OpenAPI document from the same words."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

from flask import Request, Response, request
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema, ValidationError
from marshmallow.fields import List
from webargs.multidictproxy import MultiDictProxy

from app.answer import Answer
from app.auth import authorize
from app.json_body import read_json
from app.openapi import IDEMPOTENCY_KEY, TEXT_SCHEMAS, headers, path_parameters
from app.problems import EdgeError
from domain import json_value
from domain.access import Permission
from domain.errors import Fault, Invalid
from services.idempotency import Once

_REPLAYED = ("Idempotent-Replayed",)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,128}")

Answered = Response | Answer


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
) -> Callable[[Callable[..., Answered]], Callable[..., Answered]]:
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

    def decorate(view: Callable[..., Answered]) -> Callable[..., Answered]:
        documented = view
        statuses = {400, 500, 503, *refuses}
        if permission is not None:
            statuses |= {401, 403}
        if body is not None:
            statuses |= {400, 408, 413, 415, 422}
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
    # Parsed, sorted, and with each number in its one form: who writes the same JSON in other words repeats the request.
    said_before = json.loads(request.get_data() or b"null", parse_float=_number)
    body = json.dumps(said_before, sort_keys=True, separators=(",", ":"))
    said = f"{request.method} {request.path}\n{body}"
    return Once(key, hashlib.sha256(said.encode("utf-8", "replace")).digest())


def _number(text: str) -> int | float:
    """As RFC 8785 has it: 1.0, 1e0 and 1 are one number, and so are 0 and -0.0."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= json_value.MAX_INTEGER else value


def _serve(
    view: Callable[..., Answered],
    documented: Callable[..., Answered],
    permission: Permission | None,
    query: type[Schema] | None,
    body: type[Schema] | None,
) -> Callable[..., Answered]:
    """What is registered: documented by flask-smorest's wrappers, but not run through them.

    They are one a possible status and take as long as the rest of the edge; what they would do is done here.
    """
    readers = [] if query is None else [partial(_query, query(), _lists(query()))]
    if body is not None:
        readers.append(partial(_body, body(), _has_required(body())))

    @wraps(documented)
    def served(**parts: str) -> Answered:
        # Itself, not through its proxy, which takes longer to ask than the answer.
        asked = request._get_current_object()  # type: ignore[attr-defined]
        if permission is not None:
            authorize(asked, permission)
        return view(*[read(asked) for read in readers], **parts)

    served.permission = permission  # type: ignore[attr-defined]
    return served


def _lists(schema: Schema) -> frozenset[str]:
    """The parameters that may be given more than once."""
    return frozenset(field.data_key or name for name, field in schema.fields.items() if isinstance(field, List))


def _query(schema: Schema, lists: frozenset[str], asked: Request) -> Any:
    found = [fault for name, value in asked.args.items(multi=True) for fault in json_value.text_faults(value, name)]
    twice = [name for name, values in asked.args.lists() if len(values) > 1 and name not in lists]
    found += [Fault(name[:200], "is given twice") for name in twice]
    if found:
        raise Invalid(found)
    return _loaded(schema, MultiDictProxy(asked.args, schema))


def _body(schema: Schema, required: bool, asked: Request) -> Any:
    return _loaded(schema, read_json(asked, required=required))


def _loaded(schema: Schema, found: Any) -> Any:
    """Fields that nobody reads are refused: a misspelt one must not pass silently."""
    try:
        return schema.load(found, unknown=RAISE)
    except ValidationError as error:
        raise Invalid(_faults("", error.messages)[:20]) from None


def _has_required(schema: Schema) -> bool:
    return any(field.required for field in schema.fields.values())


# What marshmallow calls by Python's names.
_IN_JSON = dict.fromkeys(("Not a valid mapping type.", "Invalid input type."), "Not an object, like {}.")


def _faults(path: str, messages: Any) -> list[Fault]:
    """From marshmallow's tree of messages to a flat list with paths."""
    if isinstance(messages, dict):
        return [fault for key, part in messages.items() for fault in _faults(_join(path, key), part)]
    texts = messages if isinstance(messages, list) else [messages]
    return [Fault(path, _IN_JSON.get(str(text), str(text))) for text in texts]


def _join(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key == "_schema":
        return path
    return f"{path}.{key}" if path else str(key)
