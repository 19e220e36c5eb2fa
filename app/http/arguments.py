"""How flask-smorest reads a request's query and body: strictly, with each fault named by its place."""

from typing import Any, NoReturn

import flask_smorest
from flask import Request
from marshmallow import RAISE, Schema, ValidationError
from marshmallow.fields import List
from webargs.flaskparser import FlaskParser

from app.http.json_body import read_json
from domain.values import canonical_json
from domain.values.errors import FieldError, Invalid

# Faults that one answer tells: who sent more has to start over anyway.
_MAX_FAULTS = 20
# What marshmallow calls by Python's names.
_IN_JSON = dict.fromkeys(("Not a valid mapping type.", "Invalid input type."), "Not an object, like {}.")


class StrictParser(FlaskParser):
    """A field that nobody reads is refused: a misspelt one must not pass silently."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": RAISE}  # noqa: RUF012  (webargs declares it so)

    def load_json(self, req: Request, schema: Schema) -> Any:
        return read_json(req, required=has_required(schema))

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        given = req.args
        found = [
            field_error
            for name, value in given.items(multi=True)
            for field_error in canonical_json.text_errors(value, name)
        ]
        twice = [name for name, values in given.lists() if len(values) > 1 and not _is_list(schema, name)]
        found += [FieldError(name[:200], "is given twice") for name in twice]
        if found:
            raise Invalid(found)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        # webargs puts the tree of messages under the name of the place that was read.
        (messages,) = error.messages_dict.values()
        raise Invalid(_field_errors("", messages)[:_MAX_FAULTS]) from None


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    ARGUMENTS_PARSER = StrictParser()


def has_required(schema: Schema) -> bool:
    return any(field.required for field in schema.fields.values())


def _is_list(schema: Schema, name: str) -> bool:
    """A parameter that may be given more than once."""
    return any((field.data_key or own) == name and isinstance(field, List) for own, field in schema.fields.items())


def _field_errors(path: str, messages: Any) -> list[FieldError]:
    """From marshmallow's tree of messages to a flat list with paths."""
    if isinstance(messages, dict):
        return [field_error for key, part in messages.items() for field_error in _field_errors(_join(path, key), part)]
    texts = messages if isinstance(messages, list) else [messages]
    return [FieldError(path, _IN_JSON.get(str(text), str(text))) for text in texts]


def _join(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key == "_schema":
        return path
    return f"{path}.{key}" if path else str(key)
