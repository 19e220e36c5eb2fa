"""The demo tells only what happened; when that is not what should have, it ends."""

from typing import Any


class Deviation(Exception):
    """Something went otherwise than it must. The message is one line."""


def expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Deviation(f"{what} is {found!r}, it should be {wanted!r}")
