"""The strict parser of queries and bodies for flask-smorest; errors name the path of each field."""

from typing import Any, NoReturn

import flask_smorest
from flask import Request
from marshmallow import RAISE, Schema, ValidationError
from marshmallow.fields import List
from webargs.flaskparser import FlaskParser

from app.http.json_body import read_json
from domain.values import canonical_json
from domain.values.errors import FieldError, Invalid

# The maximum number of field errors in a response.
_MAX_FIELD_ERRORS = 20
# Replacements for messages in which marshmallow names Python types.
_IN_JSON = dict.fromkeys(("Not a valid mapping type.", "Invalid input type."), "Not an object, like {}.")


class StrictParser(FlaskParser):
    """A parser that rejects unknown fields, so that a misspelt one does not pass silently."""

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
        found += [FieldError(name[:200], "occurs twice") for name in twice]
        if found:
            raise Invalid(found)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        # webargs puts the tree of messages under the location: json or query.
        (messages,) = error.messages_dict.values()
        raise Invalid(_field_errors("", messages)[:_MAX_FIELD_ERRORS]) from None


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    ARGUMENTS_PARSER = StrictParser()


def has_required(schema: Schema) -> bool:
    return any(field.required for field in schema.fields.values())


def _is_list(schema: Schema, name: str) -> bool:
    """Tell whether the parameter may occur more than once."""
    return any((field.data_key or own) == name and isinstance(field, List) for own, field in schema.fields.items())


def _field_errors(path: str, messages: Any) -> list[FieldError]:
    """Convert marshmallow's tree of messages to a flat list with paths."""
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
