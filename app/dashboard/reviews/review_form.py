"""What the forms of a review send, and what stands in them when they are shown again."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import request

from app.dashboard.display.form_values import NULL, sent, split_zone
from app.dashboard.display.schema_form import Field, defaults, fields_of, read
from app.dashboard.framework.form_fields import text
from app.dashboard.reviews.review_view import ReviewView
from app.http.json_body import read_text
from domain.values import json_schema
from domain.values.errors import AlreadyResolved, FieldError, Invalid, RevisionChanged
from services.sagas.queries import StepRef

# As the API's.
MAX_GUIDANCE = 4_096
# Of what was shown, that comes back with a vote to show what has changed since. Characters.
MAX_SEEN = 20_000


def comment() -> str | None:
    return text("comment") or None


def guidance() -> str | None:
    return text("guidance", MAX_GUIDANCE) or None


def revision() -> int:
    """The one that the person has seen: nobody decides here on what they have not read."""
    given = request.form.get("revision", "")
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Invalid([FieldError("revision", "is missing: load the page anew")])
    return int(given)


def check_seen(seen: ReviewView) -> None:
    if not seen.pending:
        raise AlreadyResolved(seen.document)
    if revision() != seen.pause.revision:
        raise RevisionChanged


def step_of(seen: ReviewView) -> StepRef:
    if seen.saga_context is None or seen.pause.context is None:
        raise Invalid([FieldError("", "only a step of a saga can be run again")])
    return StepRef(UUID(hex=seen.pause.context["trace_id"]), seen.pause.context["step_span_id"])


def edited(seen: ReviewView) -> dict[str, Any]:
    """What the edit form says, checked as it will be when it is approved. Raises `Invalid`."""
    if seen.pause.arguments is None:
        raise Invalid([FieldError(seen.subject, "cannot be edited: there are none")])
    field_errors: list[FieldError] = []
    if "json" in request.form:
        value = read_text(request.form["json"], seen.subject)
    else:
        value, field_errors = read(edit_fields(seen), sent(request.form), seen.pause.arguments)
    if not isinstance(value, dict):
        raise Invalid([FieldError(seen.subject, "is not an object: it begins with { and ends with }")])
    schema = seen.pause.arguments_schema
    if not field_errors and schema is not None:
        field_errors = list(json_schema.value_errors(schema, value, seen.subject))
    if field_errors:
        raise Invalid(field_errors)
    return value


def carried() -> dict[str, Any] | None:
    """The edit that was confirmed; None: as it is."""
    if "arguments" not in request.form:
        return None
    value = read_text(request.form["arguments"], "arguments")
    if not isinstance(value, dict):
        raise Invalid([FieldError("arguments", "is not an object")])
    return value


def carried_or_none(seen: ReviewView) -> dict[str, Any] | None:
    """To be shown again: it was read before, unless somebody made the form by hand."""
    try:
        return carried() if seen.pending else None
    except Invalid:
        return None


def response(seen: ReviewView) -> Any:
    """The answer that the review asks for. Raises `Invalid`."""
    schema = seen.pause.response_schema
    if schema is None:
        return None
    value, field_errors = read(response_fields(seen), sent(request.form), defaults(schema))
    if not field_errors:
        field_errors = list(json_schema.value_errors(schema, value, "response"))
    if field_errors:
        raise Invalid(field_errors)
    return value


def seen_arguments() -> Any:
    """What the person had before their eyes; None where the form did not say."""
    try:
        return read_text(request.form.get("seen", ""), "seen")
    except Invalid:
        return None


def edit_fields(seen: ReviewView) -> tuple[Field, ...]:
    schema = seen.pause.arguments_schema
    if schema is None or seen.pause.arguments is None:
        return ()
    return fields_of(schema, seen.pause.arguments, seen.subject, "edit")


def response_fields(seen: ReviewView) -> tuple[Field, ...]:
    schema = seen.pause.response_schema
    return () if schema is None else fields_of(schema, defaults(schema), "response", "answer")


class FormState:
    """For the templates: the fields, what stands in them, and what is wrong with it."""

    def __init__(self, seen: ReviewView, field_errors: Sequence[FieldError]) -> None:
        self.edit = edit_fields(seen)
        self.response = response_fields(seen)
        self.field_errors = tuple(field_errors)
        self._given = sent(request.form) if request.method == "POST" else {}
        arguments = seen.pause.arguments
        seen_text = json.dumps(arguments) if arguments is not None and not seen.pause.review.plain else ""
        self.seen = seen_text if len(seen_text) <= MAX_SEEN else ""

    def text(self, field: Field) -> str:
        """What stands in the field, without what is said of null."""
        return self._given.get(field.name, field.text).removeprefix(NULL)

    def null(self, field: Field) -> bool:
        return self._given.get(field.name, field.text).startswith(NULL)

    def chosen(self, field: Field) -> list[str]:
        return self.text(field).split("\n")

    def instant(self, field: Field) -> tuple[str, str]:
        """What stands in the control of an instant, and in that of its zone."""
        return split_zone(self.text(field))

    def given(self, name: str, otherwise: str = "") -> str:
        return self._given.get(name, otherwise)

    def wrong(self, path: str) -> list[str]:
        """What is wrong at the place, or inside of what one field holds."""
        return [field_error.message for field_error in self.field_errors if field_error.path == path]

    def wrong_in(self, field: Field) -> list[str]:
        """Inside of a field that holds more than one value, the place is told too."""
        inside = (
            field_error
            for field_error in self.field_errors
            if field_error.path.startswith((f"{field.path}.", f"{field.path}["))
        )
        return [*self.wrong(field.path), *(f"{field_error.path} {field_error.message}" for field_error in inside)]

    @property
    def elsewhere(self) -> list[FieldError]:
        """Faults that no field shows."""
        places = [field.path for field in _leaves((*self.edit, *self.response))]
        own = ("comment", "guidance")
        return [
            field_error
            for field_error in self.field_errors
            if field_error.path not in (*places, *own)
            and not field_error.path.startswith(tuple(f"{place}{sign}" for place in places for sign in ".["))
        ]


def _leaves(fields: Sequence[Field]) -> list[Field]:
    return [leaf for field in fields for leaf in (_leaves(field.fields) if field.fields else [field])]
