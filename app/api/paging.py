"""Paging of list operations."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from services.kernel.pagination import Page, Slice

Item = TypeVar("Item")


def page(query: dict[str, Any]) -> Page:
    """Remove the paging parameters from the query, leaving the filters, and return the page."""
    cursor = query.pop("cursor", None)
    return Page(query.pop("limit"), query.pop("offset"), UUID(hex=cursor) if cursor else None)


def list_document(found: Slice[Item], document: Callable[[Item], Any]) -> dict[str, Any]:
    return {
        "items": [document(item) for item in found.items],
        "limit": found.page.limit,
        "offset": found.page.offset,
        "next_cursor": None if found.next_after is None else found.next_after.hex,
    }
