"""What the pages with lists share: which part of the list the address asks for, and the address of the next part."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import request

from domain.values import ids
from services.kernel.pagination import Page, Slice

PAGE_SIZE = 30
Choice = TypeVar("Choice", bound=StrEnum)


def wanted_page() -> Page:
    """A cursor that is none begins the list anew."""
    return Page(PAGE_SIZE, after=ids.parse("", request.args.get("cursor", "")))


def next_link(found: Slice[Any]) -> str | None:
    """With the filters that the address has now; None on the last page."""
    if found.next_after is None:
        return None
    return f"{request.path}?{urlencode({**request.args, 'cursor': found.next_after.hex})}"


def text_filter(name: str) -> str | None:
    # PostgreSQL takes no NUL, and nothing has one in its name.
    return request.args.get(name, "").replace("\0", "").strip() or None


def id_filter(name: str, prefix: str, wrong: list[str]) -> str | None:
    """None, and its name among the `wrong` ones, where what was given cannot be such an id."""
    given = (text_filter(name) or "").lower()
    if given and ids.parse(prefix, given) is None:
        wrong.append(name)
        return None
    return given or None


def choice_filter(name: str, kind: type[Choice]) -> Choice | None:
    """None also for what is no such choice: the form then shows that all are listed."""
    given = request.args.get(name)
    return next((choice for choice in kind if choice == given), None)


def midnight(day: str, days: int = 0) -> datetime | None:
    """None for what is no day: the form then shows none."""
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=days), time(), UTC)
    except (ValueError, OverflowError):
        return None
