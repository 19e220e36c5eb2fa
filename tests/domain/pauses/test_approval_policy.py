"""The review policy: what is posted is kept, what has no meaning is refused with its place."""

from typing import Any

import pytest

from domain.pauses.approval_policy import (
    MAX_APPROVALS,
    MAX_SECONDS,
    ONE_APPROVAL,
    ApprovalPolicy,
    Escalation,
    RejectOn,
    Stage,
    VoterSelection,
    parse,
    stored,
)
from domain.values.errors import Invalid

KEY = "key_" + "0a" * 16


@pytest.mark.parametrize("value", [None, {}, {"approvals": 1}, {"stages": [], "groups": []}, {"stages": [{}]}])
def test_one_approval(value: dict[str, Any] | None) -> None:
    """However it is said."""
    assert parse(value) == ONE_APPROVAL
    assert parse(value).plain


FULL = ApprovalPolicy(
    stages=(
        Stage(2, VoterSelection(("ops",), ("anne@example.com", KEY)), RejectOn.MAJORITY, "peers"),
        Stage(1, VoterSelection(("finance",))),
    ),
    allow_self=True,
    remind_after=(60, 3600),
    escalate=Escalation(VoterSelection(("leads",)), 7200),
)


@pytest.mark.parametrize(
    ("value", "review"),
    [
        ({"approvals": 3}, ApprovalPolicy((Stage(3),))),
        ({"allow_self": True}, ApprovalPolicy(allow_self=True)),
        ({"reject_on": "majority"}, ApprovalPolicy((Stage(reject_on=RejectOn.MAJORITY),))),
        ({"groups": ["ops"], "assignees": []}, ApprovalPolicy((Stage(voters=VoterSelection(("ops",))),))),
        ({"stages": [{"approvals": 2}]}, ApprovalPolicy((Stage(2),))),
        ({"stages": [{"name": "first"}]}, ApprovalPolicy((Stage(name="first"),))),
        ({"escalate": {"to": {"assignees": [KEY]}}}, ApprovalPolicy(escalate=Escalation(VoterSelection((), (KEY,))))),
        ({"remind_after": [60, 30, 60]}, ApprovalPolicy(remind_after=(30, 60))),
        (FULL.document(), FULL),
    ],
)
def test_what_is_posted_is_kept(value: dict[str, Any], review: ApprovalPolicy) -> None:
    """And what is stored reads back as the same."""
    assert parse(value) == review
    assert parse(review.document()) == review


def test_the_document_says_only_what_differs() -> None:
    """One look shows what is special about the review."""
    assert ONE_APPROVAL.document() == {"approvals": 1}
    assert ApprovalPolicy((Stage(2, VoterSelection(("ops",))),)).document() == {"approvals": 2, "groups": ["ops"]}
    assert FULL.document() == {
        "stages": [
            {
                "name": "peers",
                "approvals": 2,
                "groups": ["ops"],
                "assignees": ["anne@example.com", KEY],
                "reject_on": "majority",
            },
            {"approvals": 1, "groups": ["finance"]},
        ],
        "allow_self": True,
        "remind_after": [60, 3600],
        "escalate": {"after": 7200, "to": {"groups": ["leads"]}},
    }


def test_addresses_are_compared_in_lower_case() -> None:
    """As they are stored of people."""
    assert parse({"assignees": ["Anne@Example.com"]}).stages[0].voters == VoterSelection((), ("anne@example.com",))


def test_plain_is_what_needs_no_counting() -> None:
    """Reminders and the like change nothing about who decides."""
    assert parse({"remind_after": [60], "allow_self": True, "escalate": {"to": {"groups": ["a"]}}}).plain
    for value in ({"approvals": 2}, {"groups": ["a"]}, {"reject_on": "majority"}, {"stages": [{"name": "a"}]}):
        assert not parse(value).plain


@pytest.mark.parametrize("approvals", [0, -1, True, 1.5, "1", None, [1], MAX_APPROVALS + 1])
def test_no_number_of_approvals(approvals: object) -> None:
    """A policy that is not kept is worse than none."""
    with pytest.raises(Invalid) as caught:
        parse({"approvals": approvals})
    assert caught.value.code == "VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([], "review"),
        ({"aprovals": 2}, "review.aprovals"),
        ({"groups": ["ops", 7]}, "review.groups[1]"),
        ({"groups": ["x" * 300]}, "review.groups"),
        ({"groups": ["ops", "ops"]}, "review.groups[1]"),
        ({"assignees": ["anne"]}, "review.assignees"),
        ({"assignees": ["usr_" + "0a" * 16]}, "review.assignees"),
        ({"allow_self": 1}, "review.allow_self"),
        ({"reject_on": "all"}, "review.reject_on"),
        ({"stages": "two"}, "review.stages"),
        ({"stages": [{}] * 11}, "review.stages"),
        ({"stages": [7]}, "review.stages[0]"),
        ({"stages": [{"allow_self": True}]}, "review.stages[0].allow_self"),
        ({"stages": [{}], "groups": ["ops"]}, "review.groups"),
        ({"stages": [{}], "reject_on": "any"}, "review.reject_on"),
        ({"remind_after": 60}, "review.remind_after"),
        ({"remind_after": [True]}, "review.remind_after"),
        ({"remind_after": [MAX_SECONDS + 1]}, "review.remind_after"),
        ({"remind_after": list(range(1, 12))}, "review.remind_after"),
        ({"escalate": []}, "review.escalate"),
        ({"escalate": {"after": 60}}, "review.escalate.to"),
        ({"escalate": {"to": []}}, "review.escalate.to"),
        ({"escalate": {"to": {}}}, "review.escalate.to"),
        ({"escalate": {"to": {"approvals": 1, "groups": ["a"]}}}, "review.escalate.to.approvals"),
        ({"escalate": {"to": {"groups": ["a"]}, "after": 0}}, "review.escalate.after"),
    ],
)
def test_what_has_no_meaning(value: Any, path: str) -> None:
    """A misspelt word is not taken for "as usual"."""
    with pytest.raises(Invalid) as caught:
        parse(value)
    assert caught.value.field_errors[0].path == path


def test_a_stored_policy_is_read_as_far_as_it_is_understood() -> None:
    """A newer release may have written it. The places that are not understood may require more approvals."""
    assert stored(None) == (ONE_APPROVAL, ())
    assert stored(FULL.document()) == (FULL, ())
    review, places = stored({"approvals": 2, "quorum": {}, "reject_on": "all"})
    assert review == ApprovalPolicy((Stage(2),))
    assert set(places) == {"review.quorum", "review.reject_on"}
