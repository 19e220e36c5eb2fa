"""A namespace's policy is a floor: what an agent asks for may be stricter, never weaker."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.pauses.approval_policy import MAX_STAGES, parse
from domain.pauses.creation import PauseRequest, pause_from
from domain.pauses.pause import OnTimeout, Pause
from domain.pauses.policy_floor import PolicyFloor, combined, review_errors
from domain.values.errors import Invalid

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DRAFT = PauseRequest("bank", "pay", timedelta(hours=1))
FINANCE, OPS = {"groups": ["finance"]}, {"groups": ["ops"]}
KEY = f"key_{'0' * 32}"


def pause_of(floor: PolicyFloor, **changes: Any) -> Pause:
    return pause_from(replace(DRAFT, **changes), UUID(int=1), "key_agent", NOW, (), floor)


def both(floor: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return combined(parse(floor), parse(own)).document()


@pytest.mark.parametrize(
    ("floor", "own", "effective"),
    [
        ({}, {"approvals": 2} | OPS, {"approvals": 2} | OPS),
        ({"approvals": 2}, {"approvals": 1}, {"approvals": 2}),
        ({"approvals": 2}, {"remind_after": [60]}, {"approvals": 2, "remind_after": [60]}),
        ({"approvals": 2}, {"approvals": 3}, {"approvals": 3}),
        ({"approvals": 2}, OPS, {"approvals": 2} | OPS),
        (FINANCE, {"approvals": 2}, {"approvals": 2} | FINANCE),
        ({"groups": ["finance", "ops"]}, OPS, {"approvals": 1} | OPS),
        (FINANCE, {"groups": ["finance", "ops"]}, {"approvals": 1} | FINANCE),
        (FINANCE, OPS, {"stages": [{"approvals": 1} | FINANCE, {"approvals": 1} | OPS]}),
        (FINANCE, {"assignees": [KEY]}, {"stages": [{"approvals": 1} | FINANCE, {"approvals": 1, "assignees": [KEY]}]}),
        (FINANCE, {"reject_on": "majority"} | FINANCE, {"approvals": 1} | FINANCE),
        (FINANCE | {"reject_on": "majority"}, {"approvals": 1}, {"approvals": 1, "reject_on": "majority"} | FINANCE),
        (
            {"stages": [FINANCE, OPS]},
            {"approvals": 2},
            {"stages": [{"approvals": 1} | FINANCE, {"approvals": 1} | OPS]},
        ),
        (
            {"stages": [FINANCE, OPS]},
            {"approvals": 3},
            {"stages": [{"approvals": 1} | FINANCE, {"approvals": 1} | OPS, {"approvals": 1}]},
        ),
        (
            {"stages": [FINANCE, OPS]},
            {"stages": [OPS, FINANCE]},
            {"stages": [{"approvals": 1} | one for one in (FINANCE, OPS, OPS, FINANCE)]},
        ),
        (
            {"stages": [FINANCE, OPS]},
            {"stages": [FINANCE, {"approvals": 2}, OPS | {"approvals": 2}]},
            {"stages": [{"approvals": 1} | FINANCE, {"approvals": 2}, {"approvals": 2} | OPS]},
        ),
        ({"approvals": 2, "escalate": {"to": OPS}}, {}, {"approvals": 2, "escalate": {"to": OPS}}),
        ({"approvals": 2, "allow_self": True}, {"allow_self": True}, {"approvals": 2, "allow_self": True}),
        ({"approvals": 2}, {"allow_self": True}, {"approvals": 2}),
    ],
)
def test_combined(floor: dict[str, Any], own: dict[str, Any], effective: dict[str, Any]) -> None:
    """Votes that satisfy the result satisfy both policies."""
    assert both(floor, own) == effective


@pytest.mark.parametrize(
    ("floor", "own", "places"),
    [
        ({}, {"allow_self": True}, ["review.allow_self"]),
        ({"allow_self": True}, {"allow_self": True}, []),
        (FINANCE, {"escalate": {"after": 1, "to": {"assignees": [KEY]}}}, ["review.escalate"]),
        (FINANCE, {"escalate": {"to": OPS}}, ["review.escalate"]),
        (FINANCE, {"escalate": {"after": 1, "to": FINANCE}}, []),
        ({"approvals": 2}, {"escalate": {"after": 1, "to": OPS}}, []),
        (FINANCE | {"escalate": {"after": 60, "to": OPS}}, {"escalate": {"after": 59, "to": OPS}}, ["review.escalate"]),
        (FINANCE | {"escalate": {"after": 60, "to": OPS}}, {"escalate": {"after": 61, "to": OPS}}, []),
        ({"stages": [FINANCE] * 5}, {"stages": [OPS] * (MAX_STAGES - 4)}, ["review.stages"]),
    ],
)
def test_what_cannot_be_combined(floor: dict[str, Any], own: dict[str, Any], places: list[str]) -> None:
    """It is refused; and where a step is held with it all the same, it is left out."""
    found = review_errors(PolicyFloor("bank", parse(floor)), parse(own), "review")
    assert [field_error.path for field_error in found] == places
    effective = combined(parse(floor), parse(own))
    assert effective.escalate == (parse(own).escalate if not places else parse(floor).escalate)
    assert len(effective.stages) <= MAX_STAGES


def test_silence_is_no_consent_unless_the_namespace_says_so() -> None:
    """The error says why, and names the request that changes it."""
    with pytest.raises(Invalid) as refused:
        pause_of(PolicyFloor("bank"), on_timeout=OnTimeout.APPROVE, expires=timedelta(seconds=1))
    (field_error,) = refused.value.field_errors
    assert field_error.path == "onTimeout"
    assert "use one of" in field_error.message
    assert "PUT /v1/namespaces/bank" in field_error.message
    allowing = PolicyFloor("bank", on_timeout=(OnTimeout.APPROVE, OnTimeout.EXPIRE))
    assert pause_of(allowing, on_timeout=OnTimeout.APPROVE).on_timeout is OnTimeout.APPROVE
    assert pause_of(allowing).on_timeout is OnTimeout.EXPIRE
    strict = PolicyFloor("bank", on_timeout=(OnTimeout.REJECT,))
    assert pause_of(strict).on_timeout is OnTimeout.REJECT
    with pytest.raises(Invalid):
        pause_of(strict, on_timeout=OnTimeout.EXPIRE)


def test_reviewers_have_some_time() -> None:
    """A request for less time is refused; the default time is lengthened."""
    floor = PolicyFloor("bank", min_expires_in=7200)
    for changes, place in (
        ({"expires": timedelta(seconds=7199)}, "expiresIn"),
        ({"expires": NOW + timedelta(seconds=7199)}, "expiresAt"),
    ):
        with pytest.raises(Invalid) as refused:
            pause_of(floor, **changes)
        assert [field_error.path for field_error in refused.value.field_errors] == [place]
    assert pause_of(floor, expires_by_default=True).expires_at == NOW + timedelta(hours=2)
    assert pause_of(floor, expires=timedelta(hours=3)).expires_at == NOW + timedelta(hours=3)
    assert pause_of(floor, expires=None).expires_at is None


def test_the_default_timeout_of_a_namespace() -> None:
    """Its own first choice, and an approval only if nothing else is allowed."""
    assert PolicyFloor("bank").default_on_timeout() is OnTimeout.EXPIRE
    assert (
        PolicyFloor("bank", on_timeout=(OnTimeout.APPROVE, OnTimeout.REJECT)).default_on_timeout() is OnTimeout.REJECT
    )
    only = PolicyFloor("bank", on_timeout=(OnTimeout.APPROVE,))
    assert only.default_on_timeout() is OnTimeout.APPROVE
    assert only.allowed_on_timeout(OnTimeout.REJECT) is OnTimeout.APPROVE
    assert only.allowed_on_timeout(OnTimeout.APPROVE) is OnTimeout.APPROVE


def test_a_held_step_waits_at_least_as_long_as_the_floor() -> None:
    floor = PolicyFloor("bank", min_expires_in=60)
    assert floor.lengthened(timedelta(seconds=59)) == timedelta(seconds=60)
    assert floor.lengthened(timedelta(seconds=61)) == timedelta(seconds=61)
    assert PolicyFloor("bank").lengthened(timedelta(seconds=1)) == timedelta(seconds=1)


def test_a_policy_without_its_own_is_the_floor() -> None:
    floor = parse({"approvals": 2})
    assert combined(floor, None) is floor
    assert list(review_errors(PolicyFloor("bank", floor), None, "review")) == []
