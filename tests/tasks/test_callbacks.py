"""A callback in another product's format: made at each attempt, and it uses the approval that it carries."""

import json
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from domain.pauses.serialization import pause_id
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due, get_pause
from services.webhooks.deliveries import get_delivery
from services.webhooks.signing import namespace_secret
from tasks import webhooks
from tests.adapters.receiver import Receiver, reply
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    REVIEWER,
    an_endpoint,
    approve,
    cancel,
    change,
    deliveries,
    due_now,
    expire,
    post,
    reject,
)

SUBMISSION = {"formId": "mail", "agentId": "bot", "sessionId": "s1", "meta": {"threadId": "t1"}}


def held(database: Database, receiver: Receiver, **more: Any) -> str:
    wanted = {
        "callback_url": receiver.url,
        "callback_format": "gotohuman",
        "arguments": {"draft": "Hello", "to": "a@x.org"},
        "metadata": {"door": "gotohuman", "submission": SUBMISSION},
    }
    return post(database, **wanted | more)


def delivered(database: Database) -> list[dict[str, Any]]:
    """Make an attempt of each delivery, and return the deliveries."""
    rows = deliveries(database)
    for row in rows:
        webhooks.deliver(row["id"].hex)
    return [get_delivery(database, ADMIN, f"dlv_{row['id'].hex}") for row in rows]


def used(database: Database, watch_id: str) -> bool:
    return get_pause(database, AGENT, pause_id(watch_id)).consumption is not None


def test_an_approval_is_used_and_sent(database: Database) -> None:
    with Receiver(reply(204)) as receiver:
        watch_id = held(database, receiver)
        edited = {"draft": "Hello!", "to": "a@x.org"}
        decide_pause(database, REVIEWER, watch_id, approve(comment="fine", arguments=edited, revision=1))
        (done,) = delivered(database)
        (request,) = receiver.requests
    assert (done["status"], done["type"]) == ("delivered", "pause.approved")
    assert used(database, watch_id)
    # As each format, it is signed like a Standard Webhook too.
    body = Webhook(namespace_secret(database, ADMIN, "default")).verify(request.body, request.headers)
    assert (body["event"], body["type"], body["reviewId"]) == ("review.completed", "review", watch_id)
    assert body["reviewResult"]["response"] == body["response"] == "approved"
    assert body["reviewResult"]["data"] == edited
    assert body["responseValues"] == {
        "draft": {"value": "Hello!", "wasEdited": True},
        "to": {"value": "a@x.org", "wasEdited": False},
    }
    assert (body["formId"], body["agentId"], body["sessionId"]) == ("mail", "bot", "s1")
    assert body["meta"] == {"threadId": "t1"}
    assert (body["status"], body["comment"]) == ("approved", "fine")


def test_other_outcomes_are_rejections(database: Database) -> None:
    with Receiver(reply(204)) as receiver:
        decide_pause(database, REVIEWER, held(database, receiver), reject(comment="no"))
        decide_pause(database, AGENT, held(database, receiver), cancel())
        expired = held(database, receiver)
        expire(database, expired)
        expire_due(database)
        delivered(database)
        bodies = [json.loads(request.body) for request in receiver.requests]
    assert {body["response"] for body in bodies} == {"rejected"}
    assert sorted(body["status"] for body in bodies) == ["cancelled", "expired", "rejected"]


def test_a_late_attempt_does_not_approve(database: Database) -> None:
    """The receiver was away for longer than the approval is valid, and the first attempt has used it."""
    with Receiver(reply(503)) as receiver:
        watch_id = held(database, receiver, approval_valid_for=60)
        decide_pause(database, REVIEWER, watch_id, approve())
        (first,) = delivered(database)
        assert (first["status"], used(database, watch_id)) == ("pending", True)
        change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '61 s', consumed_at = resolved_at")
        due_now(database)
        receiver.script = reply(204)
        (second,) = delivered(database)
        early, late = (json.loads(request.body) for request in receiver.requests)
    assert second["status"] == "delivered"
    assert (early["response"], early["status"]) == ("approved", "approved")
    assert (late["response"], late["status"]) == ("rejected", "expired")
    assert "expired" in late["comment"]


def test_an_approval_that_the_agent_has_used_itself(database: Database) -> None:
    with Receiver(reply(204)) as receiver:
        watch_id = held(database, receiver)
        decide_pause(database, REVIEWER, watch_id, approve())
        change(database, "UPDATE pauses SET consumed_at = resolved_at, consumed_with = 'another'")
        delivered(database)
        (request,) = receiver.requests
    assert json.loads(request.body)["response"] == "rejected"


def test_endpoints_get_standard_webhooks(database: Database) -> None:
    with Receiver(reply(204)) as callback, Receiver(reply(204)) as subscriber:
        an_endpoint(database, url=subscriber.url, event_types=("pause.approved",))
        watch_id = held(database, callback)
        decide_pause(database, REVIEWER, watch_id, approve())
        delivered(database)
        (request,) = subscriber.requests
        assert len(callback.requests) == 1
    body = json.loads(request.body)
    assert (body["type"], body["data"]["watchId"]) == ("pause.approved", watch_id)
    assert "callbackFormat" not in body["data"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (
            "UPDATE webhook_deliveries SET format = 'of-later'",
            "this release does not know the callback format 'of-later'",
        ),
        ("DELETE FROM pauses", "the pause was deleted"),
    ],
)
def test_an_attempt_without_a_body_is_a_failure(database: Database, statement: str, reason: str) -> None:
    with Receiver(reply(204)) as receiver:
        decide_pause(database, REVIEWER, held(database, receiver), approve())
        change(database, statement)
        (done,) = delivered(database)
        assert receiver.requests == []
    assert done["status"] == "pending"
    assert done["last_error"].startswith(reason)
