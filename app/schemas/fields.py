"""Fields and lists that every resource has in common."""

from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from domain.access import ALL_NAMESPACES, NAMESPACE_PATTERN

# Far beyond any list that a person pages through, and within what the database counts with.
MAX_OFFSET = 1_000_000
WATCH_ID = "^wch_[0-9a-f]{32}$"
ENDPOINT_ID = "^ep_[0-9a-f]{32}$"
NAMESPACE_OR_ALL = rf"^(\{ALL_NAMESPACES}|{NAMESPACE_PATTERN.removeprefix('^').removesuffix('$')})$"
_CURSOR = "^[0-9a-f]{32}$"


class Instant(fields.AwareDateTime):
    """A time with its zone, read as UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        found = super()._deserialize(value, attr, data, **kwargs)
        try:
            return found.astimezone(UTC)
        except OverflowError:
            raise ValidationError("Not a time that UTC can hold.") from None


def matches(pattern: str, meaning: str) -> validate.Regexp:
    # Python's `$` also matches before a newline at the end; JSON Schema's does not.
    return validate.Regexp(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern, error=meaning)


def text(low: int, high: int, **kwargs: Any) -> fields.String:
    return fields.String(validate=validate.Length(low, high), **kwargs)


def namespace(**kwargs: Any) -> fields.String:
    return fields.String(
        validate=matches(NAMESPACE_PATTERN, "1 to 63 lowercase letters, digits and hyphens, no hyphen at the ends"),
        metadata={"pattern": NAMESPACE_PATTERN},
        **kwargs,
    )


def namespaces(**kwargs: Any) -> fields.List[str]:
    item = fields.String(validate=matches(NAMESPACE_OR_ALL, "a namespace, or * for all"))
    return fields.List(item, validate=validate.Length(1, 100), metadata={"example": ["*"]}, **kwargs)


class PageQuery(Schema):
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 100))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, MAX_OFFSET))
    cursor = fields.String(
        validate=matches(_CURSOR, "Not a cursor from next_cursor."),
        metadata={"description": "`next_cursor` of the page before", "pattern": _CURSOR},
    )

    @validates_schema
    def _one_way_to_continue(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("cursor") and data.get("offset"):
            raise ValidationError("Give either cursor or offset.", "cursor")


class PageSchema(Schema):
    limit = fields.Integer(required=True)
    offset = fields.Integer(required=True)
    next_cursor = fields.String(required=True, allow_none=True)


def page_of(item: type[Schema], name: str) -> type[Schema]:
    """The schema of a list of these."""
    return type(name, (PageSchema,), {"items": fields.List(fields.Nested(item), required=True)})
