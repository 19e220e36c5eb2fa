"""The receivers of each event: endpoints by type and namespace, callbacks, and the rows stored for each."""

import json
from uuid import UUID

import pytest

from domain.identity.access import Role
from services.kernel.leases import WAKEUP_GRACE
from services.kernel.unit_of_work import Database, WakeUp
from services.pauses.lifecycle import expire_due
from services.webhooks import endpoints
from services.webhooks.endpoints import EndpointChange, change_endpoint
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    cancel,
    deliveries,
    expire,
    one,
    post,
    reject,
    rows,
    someone,
)


def told(database: Database) -> set[tuple[str, str]]:
    """Which endpoint (by its description) heard of what."""
    joined = (
        "webhook_deliveries d JOIN webhook_messages m ON m.id = d.message_id"
        " JOIN webhook_endpoints e ON e.id = d.endpoint_id"
    )
    return {(row["description"], row["type"]) for row in rows(database, f"SELECT e.description, m.type FROM {joined}")}


def test_by_type_and_namespace(database: Database) -> None:
    """A star hears of every namespace, no types means all types."""
    an_endpoint(database, description="all", namespaces=("*",))
    an_endpoint(database, description="here", namespaces=("default", "third"))
    an_endpoint(database, description="there", namespaces=("other",))
    an_endpoint(database, description="approvals", event_types=("pause.approved",))
    post(database, someone(Role.AGENT, "other"), namespace="other")
    decide_pause(database, REVIEWER, post(database), approve())
    assert told(database) == {
        ("all", "pause.created"),
        ("all", "pause.approved"),
        ("here", "pause.created"),
        ("here", "pause.approved"),
        ("there", "pause.created"),
        ("approvals", "pause.approved"),
    }


@pytest.mark.parametrize("outcome", ["approved", "rejected", "cancelled", "expired"])
def test_a_callback_hears_of_the_outcome(database: Database, outcome: str) -> None:
    """It hears of nothing else: the agent that posted a pause knows that it was posted."""
    watch_id = post(database, callback_url=CALLBACK)
    assert deliveries(database) == []
    match outcome:
        case "approved":
            decide_pause(database, REVIEWER, watch_id, approve())
        case "rejected":
            decide_pause(database, REVIEWER, watch_id, reject())
        case "cancelled":
            decide_pause(database, AGENT, watch_id, cancel())
        case "expired":
            expire(database, watch_id)
            expire_due(database)
    (delivery,) = deliveries(database)
    assert (delivery["type"], delivery["url"], delivery["endpoint_id"]) == (f"pause.{outcome}", CALLBACK, None)
    assert delivery["lane"] == "http://127.0.0.1:9 default"
    body = json.loads(delivery["body"])
    assert body["type"] == f"pause.{outcome}"
    assert (body["data"]["watchId"], body["data"]["status"]) == (watch_id, outcome)


def test_one_message_for_all_receivers(database: Database, publisher: Recorded) -> None:
    """All deliveries share one webhook-id and one body. Each has a wake-up, and a sweep finds those that get lost."""
    an_endpoint(database)
    an_endpoint(database)
    decide_pause(database, REVIEWER, post(database, callback_url=CALLBACK, action="größer 😀"), approve())
    approved = [delivery for delivery in deliveries(database) if delivery["type"] == "pause.approved"]
    assert len(approved) == 3
    assert len({delivery["message_id"] for delivery in approved}) == 1
    assert "größer 😀" in approved[0]["body"]
    assert {wakeup for wakeup in publisher.wakeups if wakeup.kind != "webhook"} == set()
    assert {wakeup.id for wakeup in publisher.wakeups} == {delivery["id"] for delivery in deliveries(database)}
    assert all(delivery["hint_at"] == delivery["due_at"] + WAKEUP_GRACE for delivery in approved)


def test_nobody_subscribed_nothing_stored(database: Database) -> None:
    """No message without a receiver."""
    decide_pause(database, REVIEWER, post(database), approve())
    assert rows(database, "SELECT id FROM webhook_messages") == []


def test_switched_off_by_an_admin_hears_nothing(database: Database, publisher: Recorded) -> None:
    """Not even later."""
    endpoint = an_endpoint(database)
    change_endpoint(database, ADMIN, endpoint["id"], EndpointChange(enabled=False))
    post(database)
    assert deliveries(database) == []
    assert publisher.wakeups == []


def test_nothing_leaves_when_the_transaction_fails(database: Database, publisher: Recorded) -> None:
    """No wake-up is sent for a row that is not there."""
    wakeup = WakeUp("webhook", UUID(int=1))

    def fail() -> None:
        with database.transaction() as uow:
            uow.wakeups.append(wakeup)
            uow.wakes.append(wakeup.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (publisher.wakeups, publisher.wakes) == ([], [])


def test_a_test_message(database: Database, publisher: Recorded) -> None:
    """To that endpoint alone, whatever it subscribes to, about no pause."""
    endpoint = an_endpoint(database, event_types=("pause.expired",), namespaces=("other",))
    an_endpoint(database, namespaces=("*",))
    sent = endpoints.test_endpoint(database, ADMIN, endpoint["id"])
    (delivery,) = deliveries(database)
    assert sent == {"delivery_id": f"dlv_{delivery['id'].hex}"}
    assert (delivery["type"], delivery["pause_id"], delivery["namespace"]) == ("webhook.test", None, "other")
    assert json.loads(delivery["body"])["data"] == {"endpoint_id": endpoint["id"]}
    assert len(publisher.wakeups) == 1


def test_pauses_are_made_while_an_endpoint_is_deleted(database: Database) -> None:
    """In either order, neither fails for the other."""
    for _ in range(5):
        doomed = an_endpoint(database)
        creators = [lambda: post(database)] * 6
        deletion = [lambda: endpoints.delete_endpoint(database, ADMIN, doomed["id"])]  # noqa: B023
        answers = at_once([*creators[:3], *deletion, *creators[3:]])
        assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert one(database, "SELECT count(*) FROM pauses") == 30
    assert not [delivery for delivery in deliveries(database) if delivery["status"] == "pending"]
