"""Filters and paging of the pages with lists."""

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
    """Return the page that the address selects; an invalid cursor selects the first page."""
    return Page(PAGE_SIZE, after=ids.parse("", request.args.get("cursor", "")))


def next_link(found: Slice[Any]) -> str | None:
    """Return the address of the next page with the same filters; None on the last page."""
    if found.next_after is None:
        return None
    return f"{request.path}?{urlencode({**request.args, 'cursor': found.next_after.hex})}"


def text_filter(name: str) -> str | None:
    # PostgreSQL accepts no NUL, and no name contains one.
    return request.args.get(name, "").replace("\0", "").strip() or None


def id_filter(name: str, prefix: str, wrong: list[str]) -> str | None:
    """Return the id; if it is malformed, add the filter's name to `wrong` and return None."""
    given = (text_filter(name) or "").lower()
    if given and ids.parse(prefix, given) is None:
        wrong.append(name)
        return None
    return given or None


def choice_filter(name: str, kind: type[Choice]) -> Choice | None:
    """Return the choice; None for an unknown one, and the form then shows "all"."""
    given = request.args.get(name)
    return next((choice for choice in kind if choice == given), None)


def midnight(day: str, days: int = 0) -> datetime | None:
    """Return the beginning of the day in UTC; None for an invalid one, and the form then shows none."""
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=days), time(), UTC)
    except (ValueError, OverflowError):
        return None
