"""An agent's request becomes a pause, or is refused with all its field errors at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest

from domain.pauses.approval_policy import ONE_APPROVAL, ApprovalPolicy
from domain.pauses.creation import MAX_EXPIRY, PauseRequest, check_request, pause_from
from domain.pauses.pause import OnTimeout, Pause, Status
from domain.pauses.policy_floor import PolicyFloor
from domain.values import canonical_json
from domain.values.errors import Invalid

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = UUID(int=9)
DRAFT = PauseRequest(
    namespace="payments",
    action="Refund 40 €",
    context={"order": 7},
    arguments={"amount": 40},
    callback_url="https://hooks.example.com/in",
    expires=timedelta(hours=1),
    on_timeout=OnTimeout.REJECT,
    review={"approvals": 1},
    response_schema={"type": "object"},
    priority=3,
    tags=("money",),
    metadata={"run": "r-1"},
)


def pause_of(**changes: Any) -> Pause:
    return pause_from(replace(DRAFT, **changes), ID, "key_agent", NOW, ())


def test_everything_that_was_posted_is_in_the_pause() -> None:
    """Nothing is lost, and nothing is decided yet."""
    assert pause_of() == Pause(
        id=ID,
        namespace="payments",
        action="Refund 40 €",
        created_by="key_agent",
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        kind="agent",
        status=Status.PENDING,
        context={"order": 7},
        arguments={"amount": 40},
        arguments_digest=canonical_json.digest({"amount": 40}),
        revision=1,
        on_timeout=OnTimeout.REJECT,
        review=ONE_APPROVAL,
        response_schema={"type": "object"},
        callback_url="https://hooks.example.com/in",
        priority=3,
        tags=("money",),
        metadata={"run": "r-1"},
        decision=None,
    )


def test_no_arguments_no_digest() -> None:
    """But empty arguments are arguments."""
    assert pause_of(arguments=None).arguments_digest is None
    assert pause_of(arguments={}).arguments_digest == canonical_json.digest({})


def test_the_least_that_can_be_posted() -> None:
    """An action alone."""
    pause = pause_of(
        context=None, arguments=None, callback_url=None, expires=None, review=None, response_schema=None, metadata=None
    )
    assert (pause.context, pause.callback_url, pause.expires_at) == (None, None, None)
    assert pause.review == ONE_APPROVAL


@pytest.mark.parametrize(
    ("expires", "expires_at"),
    [
        (None, None),
        (timedelta(seconds=1), NOW + timedelta(seconds=1)),
        (NOW + timedelta(microseconds=1), NOW + timedelta(microseconds=1)),
        (NOW + MAX_EXPIRY, NOW + MAX_EXPIRY),
    ],
)
def test_expiry(expires: timedelta | datetime | None, expires_at: datetime | None) -> None:
    """A span from now, an instant, or never."""
    assert pause_of(expires=expires).expires_at == expires_at


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"action": " \t\n"}, "action"),
        ({"context": {"x": "y" * canonical_json.MAX_BYTES}}, "context"),
        ({"arguments": {"x": "é" * (canonical_json.MAX_BYTES // 2)}}, "arguments"),
        ({"metadata": {"x": "y" * canonical_json.MAX_BYTES}}, "metadata"),
        ({"expires": NOW}, "expiresAt"),
        ({"expires": NOW - timedelta(days=1)}, "expiresAt"),
        ({"expires": NOW + MAX_EXPIRY + timedelta(microseconds=1)}, "expiresAt"),
        ({"callback_url": "http://127.0.0.1/"}, "callbackUrl"),
        ({"callback_url": "nonsense"}, "callbackUrl"),
        ({"response_schema": {"type": "strin"}}, "responseSchema"),
        ({"arguments_schema": {"type": "strin"}}, "argumentsSchema"),
        ({"arguments_schema": {"$ref": "https://example.com/"}}, "argumentsSchema"),
        ({"arguments_schema": {"description": "y" * canonical_json.MAX_BYTES}}, "argumentsSchema"),
        ({"arguments_schema": {}, "arguments": None}, "argumentsSchema"),
        ({"arguments_schema": {"properties": {"amount": {"type": "string"}}}}, "arguments.amount"),
    ],
)
def test_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        pause_of(**changes)
    assert [field_error.path for field_error in caught.value.field_errors] == [path]


def test_every_error_is_reported_at_once() -> None:
    """An agent's author mends them all in one go."""
    with pytest.raises(Invalid) as caught:
        pause_of(action="", expires=NOW, callback_url="ftp://x/", response_schema={"$ref": "#"})
    assert [field_error.path for field_error in caught.value.field_errors] == [
        "action",
        "responseSchema",
        "expiresAt",
        "callbackUrl",
    ]


def test_a_context_of_just_the_limit_is_fine() -> None:
    """256 KiB to the byte."""
    context = {"x": "y" * (canonical_json.MAX_BYTES - len('{"x":""}'))}
    assert canonical_json.size(context) == canonical_json.MAX_BYTES
    assert pause_of(context=context).context == context


def test_the_operators_networks_are_allowed() -> None:
    """For callbacks inside of a cluster."""
    pause = pause_from(
        replace(DRAFT, callback_url="http://127.0.0.1:9/"), ID, "key_agent", NOW, (ip_network("127.0.0.0/8"),)
    )
    assert pause.callback_url == "http://127.0.0.1:9/"


def test_a_policy_that_cannot_be_kept_is_refused() -> None:
    """It is not stored as something weaker."""
    with pytest.raises(Invalid):
        pause_of(review={"approvals": 2, "aproval": 1})


def test_to_escalate_somebody_has_to_be_named() -> None:
    """By the pause's own policy, or by its namespace's."""
    with pytest.raises(Invalid) as caught:
        pause_of(on_timeout=OnTimeout.ESCALATE)
    assert [field_error.path for field_error in caught.value.field_errors] == ["onTimeout"]
    pause = pause_of(on_timeout=OnTimeout.ESCALATE, review={"escalate": {"to": {"groups": ["ops"]}}})
    assert pause.review.escalate is not None
    floor = PolicyFloor("payments", ApprovalPolicy(escalate=pause.review.escalate))
    draft = replace(DRAFT, on_timeout=OnTimeout.ESCALATE, review=None)
    assert pause_from(draft, ID, "key_agent", NOW, (), floor).review == floor.review


def test_a_request_is_checked_before_the_time_is_known() -> None:
    """The caller's clock may be off, so an expiry in the past is no error by itself."""
    check_request(DRAFT, NOW, ())
    past = replace(DRAFT, expires=NOW - timedelta(seconds=1))
    check_request(past, NOW, ())
    with pytest.raises(Invalid) as caught:
        check_request(replace(past, callback_url="ftp://hooks.example.com"), NOW, ())
    assert {field_error.path for field_error in caught.value.field_errors} == {"expiresAt", "callbackUrl"}
