"""Refusals: stable codes, and a docstring that serves as the message."""

from collections.abc import Iterator

import pytest

from domain.values import errors
from domain.values.errors import AlreadyResolved, Fault, Invalid, NotFound, Refusal


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for below in kind.__subclasses__():
        yield below
        yield from refusals(below)


def test_codes_are_unique_words() -> None:
    """Programs branch on them."""
    codes = [kind.code for kind in refusals()]
    assert len(set(codes)) == len(codes)
    assert all(code.isupper() and code.replace("_", "").isalpha() for code in codes)


@pytest.mark.parametrize("kind", [kind for kind in refusals() if kind is not AlreadyResolved])
def test_the_docstring_is_the_message(kind: type[Refusal]) -> None:
    """Unless a better one is given."""
    assert kind.__doc__
    assert kind().detail == str(kind()) == kind.__doc__.split("\n")[0]


def test_details() -> None:
    """What each carries besides."""
    assert NotFound("no such thing").detail == "no such thing"
    assert Invalid([Fault("a", "b")], "both").faults == (Fault("a", "b"),)
    assert AlreadyResolved({"status": "approved"}).current == {"status": "approved"}
    assert AlreadyResolved({}).detail.startswith("The pause was resolved before")
    assert issubclass(errors.SelfDecision, errors.Forbidden)
