"""What the forms of the admin pages have in common: short lists in one field, a role, a time."""

import re
from datetime import UTC, datetime

from flask import request

from domain.access import Role
from domain.errors import Fault, Invalid

# Far more than any form needs, and no work for whoever sends a megabyte.
MAX_ITEMS = 100


def words(name: str) -> tuple[str, ...]:
    """`a, b c` as three words."""
    return tuple(re.split(r"[\s,]+", text(name))[:MAX_ITEMS]) if text(name) else ()


def lines(name: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text(name).splitlines()[:MAX_ITEMS] if line.strip())


def text(name: str) -> str:
    found = request.form.get(name, "").strip()
    if "\0" in found:
        raise Invalid([Fault(name, "has a character that cannot be stored")])
    return found


def ticked(name: str) -> bool:
    return name in request.form


def role(name: str = "role") -> Role:
    try:
        return Role(text(name))
    except ValueError:
        raise Invalid([Fault(name, "is none of the roles")]) from None


def day(name: str) -> datetime | None:
    """The beginning of that day, UTC; None where the field is empty."""
    if not text(name):
        return None
    try:
        return datetime.strptime(text(name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Invalid([Fault(name, "is not a day like 2026-12-31")]) from None
