"""The forms of a review: reading what they send, and filling them when they are shown again."""

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
from domain.pauses.consumption import MAX_NOTE, SETTLED, ExecutionStatus
from domain.values import json_schema
from domain.values.errors import AlreadyResolved, FieldError, Invalid, RevisionChanged
from services.sagas.queries import StepRef

# The API's limit.
MAX_GUIDANCE = 4_096
# Characters of the shown arguments that a form sends back, to show what has changed since.
MAX_SHOWN = 20_000


def comment() -> str | None:
    return text("comment") or None


def guidance() -> str | None:
    return text("guidance", MAX_GUIDANCE) or None


def settled() -> tuple[ExecutionStatus, str]:
    """Return the outcome that an operator records, and how they know. Raises `Invalid`."""
    status, note = request.form.get("outcome"), text("note", MAX_NOTE)
    if status not in SETTLED:
        raise Invalid([FieldError("outcome", "is missing: choose whether the action took effect")])
    if not note:
        raise Invalid([FieldError("note", "is missing: say how you know")])
    return ExecutionStatus(status), note


def revision() -> int:
    """Return the revision that the person has read; a decision applies to no other."""
    given = request.form.get("revision", "")
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Invalid([FieldError("revision", "is missing: reload the page")])
    return int(given)


def check_current(view: ReviewView) -> None:
    """Raise unless the review is pending at the revision that the person has read."""
    if not view.pending:
        raise AlreadyResolved(view.document)
    if revision() != view.pause.revision:
        raise RevisionChanged


def step_of(view: ReviewView) -> StepRef:
    if view.saga_context is None or view.pause.context is None:
        raise Invalid([FieldError("", "only a saga step can run again")])
    return StepRef(UUID(hex=view.pause.context["trace_id"]), view.pause.context["step_span_id"])


def edited(view: ReviewView) -> dict[str, Any]:
    """Return the arguments from the edit form, validated as an approval validates them. Raises `Invalid`."""
    if view.pause.arguments is None:
        raise Invalid([FieldError(view.subject, "cannot be edited: the review has none")])
    field_errors: list[FieldError] = []
    if "json" in request.form:
        value = read_text(request.form["json"], view.subject)
    else:
        value, field_errors = read(edit_fields(view), sent(request.form), view.pause.arguments)
    if not isinstance(value, dict):
        raise Invalid([FieldError(view.subject, "is not a JSON object: it must begin with { and end with }")])
    schema = view.pause.arguments_schema
    if not field_errors and schema is not None:
        field_errors = list(json_schema.value_errors(schema, value, view.subject))
    if field_errors:
        raise Invalid(field_errors)
    return value


def confirmed() -> dict[str, Any] | None:
    """Return the arguments that the person previewed and confirmed; None without an edit."""
    if "arguments" not in request.form:
        return None
    value = read_text(request.form["arguments"], "arguments")
    if not isinstance(value, dict):
        raise Invalid([FieldError("arguments", "is not a JSON object")])
    return value


def confirmed_or_none(view: ReviewView) -> dict[str, Any] | None:
    """Return the confirmed arguments to show them again; None if they cannot be read."""
    try:
        return confirmed() if view.pending else None
    except Invalid:
        return None


def response(view: ReviewView) -> Any:
    """Return the response that the review requires. Raises `Invalid`."""
    schema = view.pause.response_schema
    if schema is None:
        return None
    value, field_errors = read(response_fields(view), sent(request.form), defaults(schema))
    if not field_errors:
        field_errors = list(json_schema.value_errors(schema, value, "response"))
    if field_errors:
        raise Invalid(field_errors)
    return value


def response_to_reject_with(view: ReviewView) -> Any:
    """Return the response that the person has filled in; None if it is untouched or not complete.

    An incomplete response must not keep anyone from a rejection.
    """
    try:
        value = response(view)
    except Invalid:
        return None
    return None if value == defaults(view.pause.response_schema or {}) else value


def shown_arguments() -> Any:
    """Return the arguments that the page showed; None if the form does not include them."""
    try:
        return read_text(request.form.get("seen", ""), "seen")
    except Invalid:
        return None


def edit_fields(view: ReviewView) -> tuple[Field, ...]:
    schema = view.pause.arguments_schema
    if schema is None or view.pause.arguments is None:
        return ()
    return fields_of(schema, view.pause.arguments, view.subject, "edit")


def response_fields(view: ReviewView) -> tuple[Field, ...]:
    schema = view.pause.response_schema
    return () if schema is None else fields_of(schema, defaults(schema), "response", "answer")


class FormState:
    """The fields for the templates, with their contents and errors."""

    def __init__(self, view: ReviewView, field_errors: Sequence[FieldError]) -> None:
        self.edit = edit_fields(view)
        self.response = response_fields(view)
        schema = view.pause.response_schema
        self.response_required = schema is not None and any(json_schema.value_errors(schema, None, "response"))
        self.field_errors = tuple(field_errors)
        self._given = sent(request.form) if request.method == "POST" else {}
        arguments = view.pause.arguments
        shown = json.dumps(arguments) if arguments is not None and not view.pause.review.plain else ""
        self.shown = shown if len(shown) <= MAX_SHOWN else ""

    def text(self, field: Field) -> str:
        """Return the field's text without the marker for null."""
        return self._given.get(field.name, field.text).removeprefix(NULL)

    def null(self, field: Field) -> bool:
        return self._given.get(field.name, field.text).startswith(NULL)

    def chosen(self, field: Field) -> list[str]:
        return self.text(field).split("\n")

    def instant(self, field: Field) -> tuple[str, str]:
        """Return the text of an instant's control and the text of its time zone's control."""
        return split_zone(self.text(field))

    def given(self, name: str, default: str = "") -> str:
        return self._given.get(name, default)

    def wrong(self, path: str) -> list[str]:
        """Return the messages of the errors at this path."""
        return [each.message for each in self.field_errors if each.path == path]

    def wrong_in(self, field: Field) -> list[str]:
        """Return the messages of the field's errors; an error inside its value names its path."""
        inside = (each for each in self.field_errors if each.path.startswith((f"{field.path}.", f"{field.path}[")))
        return [*self.wrong(field.path), *(f"{each.path} {each.message}" for each in inside)]

    @property
    def elsewhere(self) -> list[FieldError]:
        """The errors that no field shows."""
        paths = [field.path for field in _leaves((*self.edit, *self.response))]
        own = ("comment", "guidance")
        return [
            each
            for each in self.field_errors
            if each.path not in (*paths, *own)
            and not each.path.startswith(tuple(f"{path}{sign}" for path in paths for sign in ".["))
        ]


def _leaves(fields: Sequence[Field]) -> list[Field]:
    return [leaf for field in fields for leaf in (_leaves(field.fields) if field.fields else [field])]
