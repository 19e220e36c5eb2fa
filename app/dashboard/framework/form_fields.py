"""Readers of form fields: a text, a list in one field, a role, a day. Each raises `Invalid`."""

import re
from datetime import UTC, datetime

from flask import request

from domain.identity.access import ALL_NAMESPACES, Role, is_namespace
from domain.values.canonical_json import text_errors
from domain.values.errors import FieldError, Invalid

# More than any form needs; it bounds the work for a huge field.
MAX_ITEMS = 100
# The API's limit for comments, reasons and evidence.
MAX_TEXT = 10_000
# The longest valid list of channels, with room to report that there are too many.
MAX_LINES = 30_000


def words(name: str) -> tuple[str, ...]:
    """Split `a, b c` into three words."""
    return tuple(re.findall(r"[^\s,]+", text(name))[:MAX_ITEMS])


def lines(name: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text(name, MAX_LINES).splitlines()[:MAX_ITEMS] if line.strip())


def namespaces() -> tuple[str, ...]:
    found = words("namespaces")
    field_errors = [
        FieldError("namespaces", f"{name[:64]!r} is neither a namespace nor * (all namespaces)")
        for name in found
        if name != ALL_NAMESPACES and not is_namespace(name)
    ]
    if not found:
        field_errors.append(FieldError("namespaces", "is empty: enter at least one namespace, or * for all"))
    if field_errors:
        raise Invalid(field_errors)
    return found


def text(name: str, longest: int = MAX_TEXT) -> str:
    """Return the field without surrounding blanks and with LF line ends; browsers send CR LF."""
    found = request.form.get(name, "").replace("\r\n", "\n").strip()
    field_errors = list(text_errors(found, name))
    if len(found) > longest:
        field_errors.append(FieldError(name, f"is longer than {longest} characters"))
    if field_errors:
        raise Invalid(field_errors)
    return found


def ticked(name: str) -> bool:
    return name in request.form


def role(name: str = "role") -> Role:
    try:
        return Role(text(name))
    except ValueError:
        raise Invalid([FieldError(name, "is not a role")]) from None


def day(name: str) -> datetime | None:
    """Return the beginning of that day in UTC; None if the field is empty."""
    if not text(name):
        return None
    try:
        return datetime.strptime(text(name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Invalid([FieldError(name, "is not a date like 2026-12-31")]) from None
