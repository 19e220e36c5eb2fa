"""Webhooks over HTTP: endpoints, their secrets, and deliveries by the real worker to a real receiver."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.adapters.receiver import Receiver, reply
from tests.api.conftest import Team, refused, until

URL = "/v1/webhooks/endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def endpoint(team: Team, receiver: Receiver) -> Iterator[dict[str, Any]]:
    """Hears of everything in the team's namespace, until the test is over."""
    made = team.admin.post(URL, json={"url": receiver.url, "namespaces": [team.namespace]})
    assert made.status_code == 201, made.text
    yield made.json()
    team.admin.delete(f"{URL}/{made.json()['id']}")


def settled(team: Team, delivery_id: str) -> dict[str, Any]:
    """The delivery, once it has been attempted and no attempt is under way."""
    path = f"/v1/webhooks/deliveries/{delivery_id}"
    until(lambda: team.operator.get(path).json()["attempts_made"])
    document: dict[str, Any] = team.operator.get(path).json()
    return document


def test_an_endpoint_is_made_read_changed_and_removed(team: Team) -> None:
    new = {
        "url": "https://hooks.example.com/a?b=c",
        "namespaces": [team.namespace],
        "event_types": ["pause.created", "pause.approved"],
        "description": "ops",
        "headers": {"X-Token": "t"},
    }
    made = team.admin.post(URL, json=new)
    assert made.status_code == 201
    document = made.json()
    secret, path = document.pop("secret"), f"{URL}/{document['id']}"
    assert secret.startswith("whsec_")
    assert document == new | {
        "id": document["id"],
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": document["created_at"],
        "updated_at": document["created_at"],
    }
    assert team.admin.get(path).json() == document
    assert document in team.admin.get(URL).json()["items"]
    assert secret not in team.admin.get(URL).text + team.admin.get(path).text
    changed = team.admin.patch(path, json={"enabled": False, "event_types": []}).json()
    assert (changed["enabled"], changed["event_types"], changed["url"]) == (False, [], new["url"])
    refused(team.admin.post(f"{path}/test"), 409, "ENDPOINT_DISABLED")
    removed = team.admin.delete(path)
    assert (removed.status_code, removed.content) == (204, b"")
    for answer in (team.admin.get(path), team.admin.delete(path), team.admin.patch(path, json={})):
        refused(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("headers", {"Host": "x"}, "headers.Host"),
        ("headers", {"content-length": "1"}, "headers.content-length"),
        ("headers", {"Webhook-Id": "1"}, "headers.Webhook-Id"),
        ("headers", {"a b": "x"}, "headers.a b"),
        ("headers", {"": "x"}, "headers."),
        ("headers", {"X-A": "one\r\nX-B: two"}, "headers.X-A"),
        ("headers", {"X-A": "é"}, "headers.X-A"),
        ("headers", {"X-A": "x" * 1025}, "headers.X-A"),
        ("headers", {"X-A": 5}, "headers.X-A.value"),
        ("headers", {f"X-{n}": "x" for n in range(21)}, "headers"),
        ("event_types", ["pause.forgotten"], "event_types[0]"),
        ("event_types", "pause.created", "event_types"),
        ("namespaces", [], "namespaces"),
        ("namespaces", ["UPPER"], "namespaces[0]"),
        ("description", "x" * 501, "description"),
        ("enabled", 1, "enabled"),
        ("enabled", "yes", "enabled"),
        ("url", "ftp://example.com/", "url"),
        ("url", None, "url"),
        ("secret", "whsec_own", "secret"),
    ],
)
def test_an_endpoint_that_means_nothing(field: str, value: object, path: str, team: Team) -> None:
    new = {"url": "https://hooks.example.com/", "namespaces": [team.namespace]}
    refused(team.admin.post(URL, json=new | {field: value}), 422, "VALIDATION_FAILED", path)
    made = team.admin.post(URL, json=new).json()
    refused(team.admin.patch(f"{URL}/{made['id']}", json={field: value}), 422, "VALIDATION_FAILED", path)
    team.admin.delete(f"{URL}/{made['id']}")


def test_an_endpoint_for_a_namespace_without_access(team: Team) -> None:
    for names in (["*"], ["default"], [team.namespace, "default"]):
        refused(team.admin.post(URL, json={"url": "https://example.com/", "namespaces": names}), 403, "FORBIDDEN")


def test_another_admins_endpoint_is_not_there(team: Team, stranger: httpx.Client, endpoint: dict[str, Any]) -> None:
    path = f"{URL}/{endpoint['id']}"
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("POST", "/test")):
        refused(stranger.request(method, path + suffix), 404, "NOT_FOUND")
    refused(stranger.patch(path, json={"enabled": False}), 404, "NOT_FOUND")
    refused(stranger.post(f"{path}/recover", json={"since": "2026-01-01T00:00:00Z"}), 404, "NOT_FOUND")
    assert stranger.get(URL).json()["items"] == []
    assert team.admin.get(path).json()["enabled"] is True


def test_an_endpoint_hears_of_a_pause_in_signed_messages(
    team: Team, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """With the endpoint's own headers, and verified as any receiver would do it."""
    team.admin.patch(f"{URL}/{endpoint['id']}", json={"headers": {"X-Token": "t"}})
    watch_id = team.pause()["watchId"]
    receiver.wait_for(1)
    decided = team.reviewer.post(f"/api/pause/{watch_id}/approve").json()
    first, second = receiver.wait_for(2)
    created, approved = (Webhook(endpoint["secret"]).verify(r.body, dict(r.headers)) for r in (first, second))
    assert (created["type"], created["data"]["watchId"]) == ("pause.created", watch_id)
    assert approved == {"type": "pause.approved", "timestamp": decided["resolvedAt"], "data": decided}
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert first.headers["x-token"] == "t"


def test_an_endpoint_that_chose_its_events_hears_of_no_others(
    team: Team, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    team.admin.patch(f"{URL}/{endpoint['id']}", json={"event_types": ["pause.rejected"]})
    team.reviewer.post(f"/api/pause/{team.pause()['watchId']}/approve")
    watch_id = team.pause()["watchId"]
    team.reviewer.post(f"/api/pause/{watch_id}/reject")
    (request,) = receiver.wait_for(1)
    assert json.loads(request.body)["data"]["watchId"] == watch_id
    listed = team.operator.get(f"/v1/webhooks/deliveries?endpoint_id={endpoint['id']}").json()["items"]
    assert [delivery["type"] for delivery in listed] == ["pause.rejected"]


def test_after_a_rotation_both_secrets_sign(team: Team, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    rotated = team.admin.post(f"{URL}/{endpoint['id']}/rotate-secret").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != endpoint["secret"]
    team.operator.post(f"{URL}/{endpoint['id']}/test")
    (request,) = receiver.wait_for(1)
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (rotated["secret"], endpoint["secret"]):
        assert Webhook(secret).verify(request.body, dict(request.headers))["type"] == "webhook.test"


def test_a_test_message_shows_how_it_went(team: Team, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    receiver.script = reply(202, b"thank you")
    sent = team.operator.post(f"{URL}/{endpoint['id']}/test")
    assert sent.status_code == 202
    delivery = settled(team, sent.json()["delivery_id"])
    (request,) = receiver.wait_for(1)
    assert delivery == {
        "id": sent.json()["delivery_id"],
        "webhook_id": request.headers["webhook-id"],
        "type": "webhook.test",
        "namespace": team.namespace,
        "watch_id": None,
        "endpoint_id": endpoint["id"],
        "url": receiver.url,
        "status": "delivered",
        "attempts": 1,
        "last_error": None,
        "created_at": delivery["created_at"],
        "next_attempt_at": None,
        "completed_at": delivery["completed_at"],
        "attempts_made": [
            {
                "number": 1,
                "started_at": delivery["attempts_made"][0]["started_at"],
                "duration_ms": delivery["attempts_made"][0]["duration_ms"],
                "outcome": "succeeded",
                "status_code": 202,
                "error": None,
                "excerpt": "thank you",
            }
        ],
    }


def test_a_failure_is_kept_and_the_delivery_can_be_sent_again(
    team: Team, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """Under the same webhook-id, so that the receiver can tell."""
    receiver.script = reply(503, b"later")
    failed = settled(team, team.operator.post(f"{URL}/{endpoint['id']}/test").json()["delivery_id"])
    (attempt,) = failed["attempts_made"]
    assert (attempt["outcome"], attempt["status_code"], attempt["excerpt"]) == ("failed", 503, "later")
    assert (failed["status"], failed["completed_at"]) == ("pending", None)
    assert failed["next_attempt_at"] > attempt["started_at"]
    assert "503" in failed["last_error"]
    receiver.script = reply(204)
    path = f"/v1/webhooks/deliveries/{failed['id']}"
    again = team.operator.post(f"{path}/redeliver")
    assert (again.status_code, again.json()["id"]) == (202, failed["id"])
    until(lambda: team.operator.get(path).json()["status"] == "delivered")
    first, *_, last = receiver.wait_for(2)
    assert first.headers["webhook-id"] == last.headers["webhook-id"] == failed["webhook_id"]
    assert [made["number"] for made in team.operator.get(path).json()["attempts_made"]] == [1, 2]


def test_an_endpoint_that_is_gone_is_disabled_and_recovered(
    team: Team, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """410 disables it and says so; once it is enabled, everything that it did not get is sent again."""
    path = f"{URL}/{endpoint['id']}"
    receiver.script = reply(410)
    watch_id = team.pause()["watchId"]
    until(lambda: not team.admin.get(path).json()["enabled"])
    disabled = team.admin.get(path).json()
    assert "410" in disabled["disabled_reason"]
    lost = team.operator.get(f"/v1/webhooks/deliveries?endpoint_id={endpoint['id']}&status=exhausted").json()["items"]
    assert [delivery["watch_id"] for delivery in lost] == [watch_id]
    since = {"since": "2026-01-01T00:00:00Z"}
    refused(team.operator.post(f"{path}/recover", json=since), 409, "ENDPOINT_DISABLED")
    refused(team.operator.post(f"/v1/webhooks/deliveries/{lost[0]['id']}/redeliver"), 409, "ENDPOINT_DISABLED")
    receiver.script = reply(200)
    assert team.admin.patch(path, json={"enabled": True}).json()["disabled_reason"] is None
    recovered = team.operator.post(f"{path}/recover", json=since)
    assert (recovered.status_code, recovered.json()) == (202, {"recovered": 1})
    until(lambda: team.operator.get(f"/v1/webhooks/deliveries/{lost[0]['id']}").json()["status"] == "delivered")


@pytest.mark.parametrize("since", [None, "yesterday", "2026-01-01T00:00:00", 17])
def test_recovering_since_no_time(since: object, team: Team, endpoint: dict[str, Any]) -> None:
    answer = team.operator.post(f"{URL}/{endpoint['id']}/recover", json={"since": since})
    refused(answer, 422, "VALIDATION_FAILED", "since")


def test_a_callback_gets_the_outcome_signed_with_the_namespaces_secret(team: Team, receiver: Receiver) -> None:
    """The agent reads that secret with its own key, and verifies."""
    secret = team.agent.get("/v1/webhooks/signing-secret").json()["secret"]
    assert team.agent.get(f"/v1/webhooks/signing-secret?namespace={team.namespace}").json()["secret"] == secret
    watch_id = team.pause(callbackUrl=receiver.url)["watchId"]
    decided = team.reviewer.post(f"/api/pause/{watch_id}/reject").json()
    (request,) = receiver.wait_for(1)
    message = Webhook(secret).verify(request.body, dict(request.headers))
    assert (message["type"], message["data"]) == ("pause.rejected", decided)
    (delivery,) = team.operator.get(f"/v1/webhooks/deliveries?watch_id={watch_id}").json()["items"]
    assert (delivery["endpoint_id"], delivery["url"]) == (None, receiver.url)


def test_a_namespaces_secret_is_rotated_by_an_admin(team: Team, receiver: Receiver) -> None:
    old = team.agent.get("/v1/webhooks/signing-secret").json()["secret"]
    new = team.admin.post("/v1/webhooks/signing-secret/rotate").json()["secret"]
    assert old != new == team.agent.get("/v1/webhooks/signing-secret").json()["secret"]
    team.reviewer.post(f"/api/pause/{team.pause(callbackUrl=receiver.url)['watchId']}/approve")
    (request,) = receiver.wait_for(1)
    for secret in (old, new):
        Webhook(secret).verify(request.body, dict(request.headers))


def test_a_deliverys_place_is_only_its_namespace(team: Team, stranger: httpx.Client, endpoint: dict[str, Any]) -> None:
    delivery_id = team.operator.post(f"{URL}/{endpoint['id']}/test").json()["delivery_id"]
    refused(stranger.get(f"/v1/webhooks/deliveries/{delivery_id}"), 404, "NOT_FOUND")
    refused(stranger.post(f"/v1/webhooks/deliveries/{delivery_id}/redeliver"), 404, "NOT_FOUND")
    assert stranger.get(f"/v1/webhooks/deliveries?namespace={team.namespace}").json()["items"] == []


def test_deliveries_are_filtered_and_paged(team: Team, endpoint: dict[str, Any]) -> None:
    made = [team.operator.post(f"{URL}/{endpoint['id']}/test").json()["delivery_id"] for _ in range(3)][::-1]
    for delivery_id in made:
        settled(team, delivery_id)
    query = f"/v1/webhooks/deliveries?endpoint_id={endpoint['id']}&limit=2"
    page = team.operator.get(query).json()
    rest = team.operator.get(f"{query}&cursor={page['next_cursor']}").json()
    assert [delivery["id"] for delivery in page["items"] + rest["items"]] == made
    assert rest["next_cursor"] is None
    assert team.operator.get(f"{query}&status=exhausted").json()["items"] == []
    assert len(team.operator.get(f"{query}&status=delivered&namespace={team.namespace}").json()["items"]) == 2


@pytest.mark.parametrize("bad", ["status=lost", "endpoint_id=x", "watch_id=wch_", "endpoint_id=wch_" + "0" * 32, "x=1"])
def test_a_list_of_deliveries_that_means_nothing(bad: str, team: Team) -> None:
    answer = team.operator.get(f"/v1/webhooks/deliveries?{bad}")
    refused(answer, 422, "VALIDATION_FAILED", bad.partition("=")[0])
