"""The review policy: one approval; more is understood but not done yet, the rest has no meaning."""

from typing import Any

import pytest

from domain.errors import Invalid, NotSupportedYet
from domain.review import ONE_APPROVAL, parse


@pytest.mark.parametrize("value", [None, {}, {"approvals": 1}])
def test_one_approval(value: dict[str, Any] | None) -> None:
    """What is stored reads back as the same."""
    assert parse(value) == ONE_APPROVAL
    assert parse(ONE_APPROVAL.document()) == ONE_APPROVAL


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"approvals": 2}, "review.approvals"),
        ({"groups": ["ops"]}, "review.groups"),
        ({"approvals": 1, "allow_self": True}, "review.allow_self"),
    ],
)
def test_not_supported_yet(value: dict[str, Any], path: str) -> None:
    """Refused, not ignored: a policy that is not kept is worse than none."""
    with pytest.raises(NotSupportedYet) as caught:
        parse(value)
    assert [fault.path for fault in caught.value.faults] == [path]


@pytest.mark.parametrize("approvals", [0, -1, True, 1.0, "1", None, [1]])
def test_no_number_of_approvals(approvals: object) -> None:
    """Another code than "not yet": this will never mean anything."""
    with pytest.raises(Invalid) as caught:
        parse({"approvals": approvals})
    assert caught.value.code == "VALIDATION_FAILED"
