"""Who is told of what: endpoints by type and namespace, callbacks, and what is stored for each."""

import json
from uuid import UUID

import pytest

from domain.identity.access import Role
from services.kernel.leases import HINT_GRACE
from services.kernel.unit_of_work import Hint, Store
from services.pauses.lifecycle import expire_due
from services.reviews.decisions import decide_pause
from services.webhooks import endpoints
from services.webhooks.endpoints import EndpointChange, change_endpoint
from tests.conftest import Recorded
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


def told(store: Store) -> set[tuple[str, str]]:
    """Which endpoint (by its description) heard of what."""
    joined = (
        "webhook_deliveries d JOIN webhook_messages m ON m.id = d.message_id"
        " JOIN webhook_endpoints e ON e.id = d.endpoint_id"
    )
    return {(row["description"], row["type"]) for row in rows(store, f"SELECT e.description, m.type FROM {joined}")}


def test_by_type_and_namespace(store: Store) -> None:
    """A star hears of every namespace, no types means all types."""
    an_endpoint(store, description="all", namespaces=("*",))
    an_endpoint(store, description="here", namespaces=("default", "third"))
    an_endpoint(store, description="there", namespaces=("other",))
    an_endpoint(store, description="approvals", event_types=("pause.approved",))
    post(store, someone(Role.AGENT, "other"), namespace="other")
    decide_pause(store, REVIEWER, post(store), approve())
    assert told(store) == {
        ("all", "pause.created"),
        ("all", "pause.approved"),
        ("here", "pause.created"),
        ("here", "pause.approved"),
        ("there", "pause.created"),
        ("approvals", "pause.approved"),
    }


@pytest.mark.parametrize("outcome", ["approved", "rejected", "cancelled", "expired"])
def test_a_callback_hears_of_the_outcome(store: Store, outcome: str) -> None:
    """Of that alone: who posted a pause knows that it was posted."""
    watch_id = post(store, callback_url=CALLBACK)
    assert deliveries(store) == []
    match outcome:
        case "approved":
            decide_pause(store, REVIEWER, watch_id, approve())
        case "rejected":
            decide_pause(store, REVIEWER, watch_id, reject())
        case "cancelled":
            decide_pause(store, AGENT, watch_id, cancel())
        case "expired":
            expire(store, watch_id)
            expire_due(store)
    (delivery,) = deliveries(store)
    assert (delivery["type"], delivery["url"], delivery["endpoint_id"]) == (f"pause.{outcome}", CALLBACK, None)
    assert delivery["lane"] == "http://127.0.0.1:9 default"
    body = json.loads(delivery["body"])
    assert body["type"] == f"pause.{outcome}"
    assert (body["data"]["watchId"], body["data"]["status"]) == (watch_id, outcome)


def test_one_message_for_all_receivers(store: Store, signals: Recorded) -> None:
    """One webhook-id and one body, however many hear of it; a hint for each, and a sweep for those that get lost."""
    an_endpoint(store)
    an_endpoint(store)
    decide_pause(store, REVIEWER, post(store, callback_url=CALLBACK, action="größer 😀"), approve())
    approved = [delivery for delivery in deliveries(store) if delivery["type"] == "pause.approved"]
    assert len(approved) == 3
    assert len({delivery["message_id"] for delivery in approved}) == 1
    assert "größer 😀" in approved[0]["body"]
    assert {hint for hint in signals.hints if hint.kind != "webhook"} == set()
    assert {hint.id for hint in signals.hints} == {delivery["id"] for delivery in deliveries(store)}
    assert all(delivery["hint_at"] == delivery["due_at"] + HINT_GRACE for delivery in approved)


def test_nobody_subscribed_nothing_stored(store: Store) -> None:
    """No message without a receiver."""
    decide_pause(store, REVIEWER, post(store), approve())
    assert rows(store, "SELECT id FROM webhook_messages") == []


def test_switched_off_by_an_admin_hears_nothing(store: Store, signals: Recorded) -> None:
    """Not even later."""
    endpoint = an_endpoint(store)
    change_endpoint(store, ADMIN, endpoint["id"], EndpointChange(enabled=False))
    post(store)
    assert deliveries(store) == []
    assert signals.hints == []


def test_nothing_leaves_when_the_transaction_fails(store: Store, signals: Recorded) -> None:
    """No hint for a row that is not there."""
    hint = Hint("webhook", UUID(int=1))

    def fail() -> None:
        with store.transaction() as tx:
            tx.hints.append(hint)
            tx.wakes.append(hint.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (signals.hints, signals.wakes) == ([], [])


def test_a_test_message(store: Store, signals: Recorded) -> None:
    """To that endpoint alone, whatever it subscribes to, about no pause."""
    endpoint = an_endpoint(store, event_types=("pause.expired",), namespaces=("other",))
    an_endpoint(store, namespaces=("*",))
    sent = endpoints.test_endpoint(store, ADMIN, endpoint["id"])
    (delivery,) = deliveries(store)
    assert sent == {"delivery_id": f"dlv_{delivery['id'].hex}"}
    assert (delivery["type"], delivery["pause_id"], delivery["namespace"]) == ("webhook.test", None, "other")
    assert json.loads(delivery["body"])["data"] == {"endpoint_id": endpoint["id"]}
    assert len(signals.hints) == 1


def test_pauses_are_made_while_an_endpoint_is_deleted(store: Store) -> None:
    """Whoever comes first, neither fails for the other."""
    for _ in range(5):
        doomed = an_endpoint(store)
        creators = [lambda: post(store)] * 6
        deletion = [lambda: endpoints.delete_endpoint(store, ADMIN, doomed["id"])]  # noqa: B023
        answers = at_once([*creators[:3], *deletion, *creators[3:]])
        assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert one(store, "SELECT count(*) FROM pauses") == 30
    assert not [delivery for delivery in deliveries(store) if delivery["status"] == "pending"]
