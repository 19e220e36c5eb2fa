"""Fields and lists that all resources share."""

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from domain.identity.access import ALL_NAMESPACES, NAMESPACE_PATTERN
from domain.values import canonical_json

# Beyond any list that a person pages through, and within the range of the database's integers.
# A deeper page reads all rows before it; a cursor does not.
MAX_OFFSET = 1_000
WATCH_ID = "^wch_[0-9a-f]{32}$"
ENDPOINT_ID = "^ep_[0-9a-f]{32}$"
DELIVERY_ID = "^dlv_[0-9a-f]{32}$"
NOTIFICATION_ID = "^ntf_[0-9a-f]{32}$"
KEY_ID = "^key_[0-9a-f]{32}$"
PERSON_ID = "^usr_[0-9a-f]{32}$"
HOLD_ID = "^hld_[0-9a-f]{32}$"
DEFINITION_ID = "^def_[0-9a-f]{32}$"
TRACE_ID = "^[0-9a-f]{32}$"
SPAN_ID = "^[0-9a-f]{16}$"
NAMESPACE_OR_ALL = rf"^(\{ALL_NAMESPACES}|{NAMESPACE_PATTERN.removeprefix('^').removesuffix('$')})$"
_CURSOR = "^[0-9a-f]{32}$"
_DIGITS = re.compile(r"-?[0-9]{1,18}")


class Instant(fields.AwareDateTime):
    """A time with a time zone, converted to UTC."""

    default_error_messages = dict.fromkeys(
        ("invalid", "invalid_awareness", "format"), "Not a time with a time zone, like 2026-03-30T21:00:00Z."
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        found = super()._deserialize(value, attr, data, **kwargs)
        try:
            return found.astimezone(UTC)
        except OverflowError:
            raise ValidationError("Out of range in UTC.") from None


class Count(fields.Integer):
    """An integer in a query, in digits only: Python would also read `1_0`, ` 10` and `１０`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return int(value)


class Whole(fields.Integer):
    """An integer in a body, including `216.0` as in JSON Schema, but no text and no boolean."""

    default_error_messages = dict.fromkeys(("invalid",), "Not a whole number.")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        found = canonical_json.whole(value)
        if found is None:
            raise self.make_error("invalid", input=value)
        return found


class YesOrNo(fields.Boolean):
    """A boolean in a body: marshmallow would also accept 1 and 0."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class TrueOrFalse(fields.Boolean):
    """A boolean in a query: `true` or `false`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class ShortList(fields.List[Any]):
    """A list whose length is checked before its items: a body can hold 100,000 items and more."""

    def __init__(self, item: fields.Field[Any], low: int, high: int, **kwargs: Any) -> None:
        super().__init__(item, validate=validate.Length(low, high), **kwargs)
        self._length = validate.Length(low, high)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            self._length(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Matches(validate.Regexp):
    """A pattern for the whole text: unlike JSON Schema's `pattern`, Python's `match` permits a final newline."""

    def __call__(self, value: Any) -> Any:
        if not self.regex.fullmatch(value):
            raise ValidationError(self.error)
        return value


def matches(pattern: str, meaning: str) -> Matches:
    return Matches(pattern, error=meaning)


def text(low: int, high: int, **kwargs: Any) -> fields.String:
    return fields.String(validate=validate.Length(low, high), **kwargs)


def between(low: int, high: int) -> validate.Range:
    return validate.Range(low, high, error=f"Must be {low} to {high}.")


def small(value: Any) -> None:
    if canonical_json.size(value) > canonical_json.MAX_BYTES:
        raise ValidationError(f"Larger than {canonical_json.MAX_BYTES // 1024} KiB.")


def namespace(**kwargs: Any) -> fields.String:
    return fields.String(
        validate=matches(
            NAMESPACE_PATTERN, "Must be 1 to 63 lowercase letters, digits and hyphens, without a hyphen at either end."
        ),
        **kwargs,
    )


def trace_id(**kwargs: Any) -> fields.String:
    return fields.String(validate=matches(TRACE_ID, "Must be 32 lowercase hexadecimal digits."), **kwargs)


def namespaces(**kwargs: Any) -> ShortList:
    item = fields.String(validate=matches(NAMESPACE_OR_ALL, "Must be a namespace, or * for all."))
    return ShortList(item, 1, 100, metadata={"example": ["*"]}, **kwargs)


def one_of(enum: type[Enum], **kwargs: Any) -> fields.Enum[Any]:
    return fields.Enum(enum, by_value=fields.String(), **kwargs)


class PageQuery(Schema):
    limit = Count(load_default=50, validate=between(1, 100))
    offset = Count(load_default=0, validate=between(0, MAX_OFFSET))
    cursor = fields.String(
        validate=matches(_CURSOR, "Not a cursor; use the value of next_cursor."),
        metadata={"description": "The `next_cursor` of the previous page."},
    )

    @validates_schema
    def _one_way_to_continue(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("cursor") and data.get("offset"):
            raise ValidationError("Give either cursor or offset.", "cursor")


class PageSchema(Schema):
    limit = fields.Integer(required=True)
    offset = fields.Integer(required=True)
    next_cursor = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The `cursor` of the next page; null on the last page. A filter that matches few of many"
            " rows may yield a short or empty page: matches may follow at the cursor."
        },
    )


def page_of(item: type[Schema], name: str) -> type[Schema]:
    """Return the schema of a page of these items."""
    return type(name, (PageSchema,), {"items": fields.List(fields.Nested(item), required=True)})


def revision() -> fields.Integer:
    """Return the field for the revision that a decision applies to."""
    meaning = "The revision that you have read. Another current revision gives 409. Required if it is above 1."
    limits = between(1, 2**31 - 1)
    return Whole(allow_none=True, validate=limits, metadata={"description": meaning})
