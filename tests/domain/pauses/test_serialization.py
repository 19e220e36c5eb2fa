"""The public form of a pause."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from domain.pauses.pause import Actor, Approve, Cancel, Command, OnTimeout, Pause, Reject, Timeout, created, decide
from domain.pauses.review_claim import CLAIM_LASTS, ReviewClaim
from domain.pauses.serialization import event_document, instant, instant_or_none, pause_document, pause_id, render_event
from domain.values import canonical_json, ids
from domain.values.errors import NotFound

T0 = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)
ID = UUID(int=255)
ANNE = Actor("key_anne", "Anne")
PAUSE = Pause(ID, "default", "deploy", "key_agent", T0, expires_at=T0 + timedelta(hours=1))


def decided(pause: Pause, command: Command, after: timedelta = timedelta(minutes=1)) -> dict[str, Any]:
    return pause_document(decide(pause, command, T0 + after)[0], "https://s.test")


def test_instants_are_utc_with_milliseconds() -> None:
    """Cut, not rounded: a moment is never told before it came."""
    assert instant(T0) == "2026-03-01T12:00:00.123Z"
    assert instant(T0.astimezone(timezone(timedelta(hours=-5)))) == "2026-03-01T12:00:00.123Z"
    assert instant_or_none(None) is None
    assert instant_or_none(T0) == instant(T0)


def test_a_pause_that_waits() -> None:
    """Every name is there, empty or not, and links begin with where the outside reaches us."""
    watch_id = ids.text(ids.WATCH, ID)
    assert pause_document(PAUSE, "https://s.test") == {
        "watchId": watch_id,
        "namespace": "default",
        "kind": "agent",
        "status": "pending",
        "createdAt": "2026-03-01T12:00:00.123Z",
        "createdBy": "key_agent",
        "expiresAt": "2026-03-01T13:00:00.123Z",
        "onTimeout": "expire",
        "resolvedAt": None,
        "agentContext": {"action": "deploy", "context": {}, "arguments": None},
        "decision": None,
        "review": {"approvals": 1},
        "votes": [],
        "waitingFor": {
            "stage": 0,
            "stages": 1,
            "name": None,
            "approvals": 1,
            "approved": 0,
            "groups": [],
            "assignees": [],
        },
        "claim": None,
        "escalatedAt": None,
        "responseSchema": None,
        "revision": 1,
        "argumentsDigest": None,
        "argumentsSchema": None,
        "priority": 0,
        "tags": [],
        "metadata": {},
        "callbackUrl": None,
        "statusUrl": f"https://s.test/api/pause/{watch_id}",
        "reviewUrl": f"https://s.test/review/{watch_id}",
    }


def test_an_edited_approval() -> None:
    """The decision tells what is to be executed, the digest of just that, and the vote that was cast."""
    before = replace(PAUSE, arguments={"n": 1}, arguments_digest=canonical_json.digest({"n": 1}), response_schema={})
    document = decided(before, Approve(ANNE, "smaller", {"n": 2}, {"ok": True}, 1))
    assert document["status"] == "approved"
    assert document["resolvedAt"] == "2026-03-01T12:01:00.123Z"
    assert document["agentContext"]["arguments"] == {"n": 2}
    assert document["argumentsDigest"] == canonical_json.digest({"n": 2}).hex()
    assert document["revision"] == 2
    vote = {"by": "key_anne", "byName": "Anne", "at": "2026-03-01T12:01:00.123Z", "revision": 2}
    vote |= {"outcome": "approved", "comment": "smaller", "response": {"ok": True}}
    vote |= {"onBehalfOf": None, "stage": 0, "counts": True}
    assert document["votes"] == [vote]
    assert document["waitingFor"] is None
    assert document["decision"] == {
        "outcome": "approved",
        "decidedBy": "key_anne",
        "decidedByName": "Anne",
        "decidedAt": "2026-03-01T12:01:00.123Z",
        "comment": "smaller",
        "arguments": {"n": 2},
        "response": {"ok": True},
        "votes": [vote],
    }


@pytest.mark.parametrize("on_timeout", OnTimeout)
def test_the_system_casts_no_vote(on_timeout: OnTimeout) -> None:
    """Silence is not consent: the lack of votes stays visible, even where the timeout approves."""
    decision = decided(replace(PAUSE, on_timeout=on_timeout), Timeout(), timedelta(hours=1))["decision"]
    assert (decision["decidedBy"], decision["votes"]) == ("system", [])


def test_a_cancel_is_no_vote() -> None:
    """It is the creator's, who has none; a rejection has one."""
    assert decided(PAUSE, Cancel(Actor("key_agent", "the agent")))["decision"]["votes"] == []
    assert len(decided(PAUSE, Reject(ANNE))["decision"]["votes"]) == 1


def test_an_event() -> None:
    """A Standard Webhook: type, time, and the pause as it was then."""
    assert event_document(created(PAUSE), pause_document(PAUSE, "https://s.test")) == {
        "type": "pause.created",
        "timestamp": "2026-03-01T12:00:00.123Z",
        "data": pause_document(PAUSE, "https://s.test"),
    }


def test_a_rendered_event_keeps_the_pause_and_its_document() -> None:
    rendered = render_event(created(PAUSE), "https://s.test")
    assert rendered.pause is PAUSE
    assert rendered.document == pause_document(PAUSE, "https://s.test")


def test_a_claim_is_shown_while_the_pause_waits() -> None:
    claimed = replace(PAUSE, claim=ReviewClaim(ANNE, T0))
    assert pause_document(claimed, "https://s.test")["claim"] == {
        "by": "key_anne",
        "byName": "Anne",
        "at": "2026-03-01T12:00:00.123Z",
        "until": instant(T0 + CLAIM_LASTS),
    }
    assert decided(claimed, Reject(ANNE))["claim"] is None


def test_the_id_of_a_pause_in_a_url() -> None:
    assert pause_id(ids.text(ids.WATCH, ID)) == ID
    with pytest.raises(NotFound, match="'wch_x' is not the id of a pause"):
        pause_id("wch_x")
