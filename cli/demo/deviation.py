"""Expectations of the demo, which ends as soon as a result differs from the expected one."""

from typing import Any


class Deviation(Exception):
    """A result that differs from the expected one. The message is one line."""


def expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Deviation(f"{what} is {found!r}, expected {wanted!r}")
