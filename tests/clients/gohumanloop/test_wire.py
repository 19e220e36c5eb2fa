"""The routes of the door, by plain HTTP."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.doors.gohumanloop.door import BATCH
from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk

FUNCTION = {"function_name": "wire", "arguments": "('ACME',)", "keyword_arguments": "{}"}
REQUEST = {
    "task_id": "t",
    "conversation_id": "c",
    "request_id": "r",
    "loop_type": "approval",
    "context": {"message": "m", "function": FUNCTION},
    "platform": "GoHumanLoop",
    "metadata": {},
}
IDS = {name: REQUEST[name] for name in ("conversation_id", "request_id", "platform")}


@pytest.fixture
def agent(desk: Desk) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    with httpx.Client(base_url=f"{desk.url}/compat/gohumanloop/v1/humanloop", headers=headers) as client:
        yield client


def post(agent: httpx.Client, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    answer = agent.post(path, json=body)
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    return document


def status(agent: httpx.Client, **ids: str) -> dict[str, Any]:
    document: dict[str, Any] = agent.get("/status", params=IDS | ids).raise_for_status().json()
    assert document["success"] is True
    return document


def test_a_repeated_request_is_one_pause(agent: httpx.Client, desk: Desk) -> None:
    """The client repeats a request after each error, and also after a timeout that the server did not notice."""
    for _ in range(3):
        assert post(agent, "/request", REQUEST) == {"success": True, "error": None}
    other = post(agent, "/request", {**REQUEST, "context": {}}, 409)
    assert other["success"] is False
    assert "belongs to another request" in other["error"]
    assert len(desk.pending()) == 1
    assert status(agent)["status"] == "pending"


def test_an_approval_is_used_and_ends(
    agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client], namespace: str
) -> None:
    limit = client_for("admin").put(f"/v1/namespaces/{namespace}", json={"review": None, "approval_valid_for": 3})
    assert limit.status_code == 200, limit.text
    post(agent, "/request", REQUEST)
    post(agent, "/request", {**REQUEST, "request_id": "other"})
    used, unused = desk.pending(2)[::-1]
    for pause in (used, unused):
        desk.http.post(f"/api/pause/{pause['watchId']}/approve", json={"comment": "ok"}).raise_for_status()
    approved = status(agent)
    assert (approved["status"], approved["response"]) == ("approved", {"decision": "approved", "reason": "ok"})
    assert approved["responded_by"] == "test reviewer"
    (mine,) = [pause for pause in desk.all() if pause["watchId"] == used["watchId"]]
    assert mine["consumption"]["consumedAt"] >= mine["resolvedAt"]
    late = datetime.fromisoformat(desk.all()[0]["decision"]["validUntil"])
    assert wait_until(lambda: datetime.now(UTC) > late, WITHIN)
    for ids in ({}, {"request_id": "other"}):
        assert status(agent, **ids)["status"] == "expired"
        assert status(agent, **ids)["error"] == "the approval expired before it was used: request a new one"


def test_the_agent_uses_the_approval_itself(agent: httpx.Client, desk: Desk) -> None:
    """This client must not act on an approval that another key has used."""
    post(agent, "/request", REQUEST)
    id_ = desk.decide("approve")
    headers = {"Idempotency-Key": "by-itself", "Authorization": f"Bearer {desk.agent_key}"}
    httpx.post(f"{desk.url}/api/pause/{id_}/consume", headers=headers).raise_for_status()
    assert status(agent)["status"] == "error"


def test_an_unknown_request_is_final(agent: httpx.Client) -> None:
    """After an HTTP error the client's thread would end, and its caller wait without end."""
    assert status(agent)["status"] == "error"


def test_information(agent: httpx.Client, desk: Desk) -> None:
    post(agent, "/request", {**REQUEST, "loop_type": "information", "context": {"question": "Which vendor?"}})
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Which vendor?"
    desk.decide("approve", response={"information": "ACME"}, comment="the usual")
    found = status(agent)
    assert (found["status"], found["response"]) == ("completed", {"information": "ACME"})
    assert found["feedback"] == "the usual"


def test_cancelled(agent: httpx.Client, desk: Desk) -> None:
    post(agent, "/request", REQUEST)
    post(agent, "/continue", {**REQUEST, "request_id": "r2"})
    post(agent, "/request", {**REQUEST, "conversation_id": "another"})
    assert post(agent, "/cancel", IDS) == {"success": True, "error": None}
    assert post(agent, "/cancel", IDS) == {"success": True, "error": None}
    assert status(agent)["status"] == "cancelled"
    assert post(agent, "/cancel_conversation", IDS) == {"success": True, "error": None}
    assert status(agent, request_id="r2")["status"] == "cancelled"
    desk.decide("reject")
    assert post(agent, "/cancel", {**IDS, "conversation_id": "another"})["success"] is False
    assert post(agent, "/cancel", {**IDS, "request_id": "unknown"})["success"] is False
    assert post(agent, "/tasks/sync", {"task_id": "t", "conversations": []})["success"] is True


def test_a_conversation_is_cancelled_as_a_whole(
    agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client]
) -> None:
    """All of its requests, and none of another key, even if the caller may see it."""
    post(agent, "/request", REQUEST)
    admin = client_for("admin")
    path = "/compat/gohumanloop/v1/humanloop"
    for number in range(BATCH + 1):
        admin.post(f"{path}/request", json={**REQUEST, "request_id": f"r{number}"}).raise_for_status()
    answer = admin.post(f"{path}/cancel_conversation", json=IDS).raise_for_status().json()
    assert answer == {"success": True, "error": None}
    assert status(agent)["status"] == "pending"
    assert len(desk.pending()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request_id": ""}, "request_id: must be a text of 1 to 500 characters"),
        ({"loop_type": "vote"}, "loop_type: must be one of approval, information, conversation"),
        ({"context": None}, "context: must be an object"),
        ({"metadata": {"timeout": "soon"}}, "metadata.timeout: must be a whole number of seconds"),
    ],
)
def test_refused_requests(agent: httpx.Client, desk: Desk, change: dict[str, Any], message: str) -> None:
    assert post(agent, "/request", REQUEST | change, 422) == {"success": False, "error": message}
    assert desk.all() == []


def test_long_ids_and_ids_with_a_slash(agent: httpx.Client, desk: Desk) -> None:
    for ids in (("a/b", "c"), ("a", "b/c"), ("a" * 400, "c")):
        named = dict(zip(("conversation_id", "request_id"), ids, strict=True))
        post(agent, "/request", REQUEST | named)
        assert status(agent, **named)["status"] == "pending"
    assert len(desk.pending(3)) == 3


def test_requests_of_others(agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client]) -> None:
    post(agent, "/request", REQUEST)
    other = client_for("agent")
    found = other.get("/compat/gohumanloop/v1/humanloop/status", params=IDS).raise_for_status().json()
    assert found["status"] == "error"
    reviewer = desk.http.post("/compat/gohumanloop/v1/humanloop/request", json=REQUEST)
    assert reviewer.status_code == 403
    assert reviewer.json()["success"] is False
