"""Domain errors: stable codes, and a docstring that serves as the message."""

from collections.abc import Iterator

import pytest

from domain.values import errors
from domain.values.errors import AlreadyResolved, DomainError, FieldError, Invalid, NotFound


def domain_errors(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for below in kind.__subclasses__():
        yield below
        yield from domain_errors(below)


def test_codes_are_unique_words() -> None:
    """Programs branch on them."""
    codes = [kind.code for kind in domain_errors()]
    assert len(set(codes)) == len(codes)
    assert all(code.isupper() and code.replace("_", "").isalpha() for code in codes)


@pytest.mark.parametrize("kind", [kind for kind in domain_errors() if kind is not AlreadyResolved])
def test_the_docstring_is_the_message(kind: type[DomainError]) -> None:
    """Unless a better one is given."""
    assert kind.__doc__
    assert kind().detail == str(kind()) == kind.__doc__.split("\n")[0]


def test_details() -> None:
    """The additional data of each error."""
    assert NotFound("no such thing").detail == "no such thing"
    assert Invalid([FieldError("a", "b")], "both").field_errors == (FieldError("a", "b"),)
    assert AlreadyResolved({"status": "approved"}).current == {"status": "approved"}
    assert AlreadyResolved({}).detail.startswith("The pause is already resolved")
    assert issubclass(errors.SelfDecision, errors.Forbidden)
