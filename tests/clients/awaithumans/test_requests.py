"""Refused and repeated requests, as the client sends them."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from services.kernel.unit_of_work import Database
from tests.clients.clock import age
from tests.clients.desk import Desk

Clients = Callable[..., httpx.Client]
TASK: dict[str, Any] = {
    "task": "Approve refund",
    "payload": {"order": "A1", "amount": 120.5},
    "payload_schema": {"type": "object"},
    "response_schema": {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]},
    "form_definition": {"version": 1, "fields": []},
    "timeout_seconds": 900,
    "idempotency_key": "refund-A1",
    "assign_to": None,
    "notify": None,
    "verifier_config": None,
    "redact_payload": False,
    "task_metadata": None,
}


@pytest.fixture
def agent(desk: Desk) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    with httpx.Client(base_url=f"{desk.url}/compat/awaithumans/api", headers=headers) as client:
        yield client


def ask(agent: httpx.Client, **more: Any) -> str:
    return str(agent.post("/tasks", json=TASK | more).raise_for_status().json()["id"])


def poll(agent: httpx.Client, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/tasks/{task_id}/poll", params={"timeout": 1}).raise_for_status().json()
    return found


def error_of(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert body["message"]
    assert body["docs"].endswith("/docs")
    return response.status_code, body["error"]


def test_the_answer_is_the_task(agent: httpx.Client) -> None:
    made = agent.post("/tasks", json=TASK)
    assert made.status_code == 201
    body = made.json()
    same = ("task", "payload", "payload_schema", "response_schema", "form_definition", "timeout_seconds", "assign_to")
    assert {name: body[name] for name in same} == {name: TASK[name] for name in same}
    assert (body["status"], body["response"], body["idempotency_key"]) == ("created", None, "refund-A1")
    assert agent.get(f"/tasks/{body['id']}").json() == body
    nothing = {"status": "created", "response": None, "completed_at": None, "timed_out_at": None}
    assert poll(agent, body["id"]) == nothing


def test_a_key_stands_for_one_task_for_ever(agent: httpx.Client, desk: Desk, client_for: Clients) -> None:
    first = agent.post("/tasks", json=TASK)
    again = agent.post("/tasks", json=TASK | {"timeout_seconds": 60, "notify": ["slack:#ops"]})
    assert (again.status_code, again.json()) == (201, first.json())
    assert ["Idempotent-Replayed" in response.headers for response in (first, again)] == [False, True]
    desk.decide("reject", comment="No.")
    replayed = agent.post("/tasks", json=TASK).json()
    assert (replayed["status"], replayed["response"]) == ("completed", {"approved": False})
    for other in ({"payload": {"order": "A2"}}, {"task": "Refund all"}, {"callback_url": "https://x.example/other"}):
        assert error_of(agent.post("/tasks", json=TASK | other)) == (409, "TASK_ALREADY_EXISTS")
    headers = {"Authorization": client_for("agent").headers["Authorization"]}
    assert error_of(agent.get(f"/tasks/{replayed['id']}", headers=headers)) == (404, "TASK_NOT_FOUND")
    assert agent.post("/tasks", json=TASK, headers=headers).json()["status"] == "created"


def test_no_agent_completes_or_claims(agent: httpx.Client, desk: Desk, client_for: Clients) -> None:
    """Nor does a key of another role, on its own task or on another's."""
    admin = {"Authorization": client_for("admin").headers["Authorization"]}
    reviewer = {"Authorization": desk.http.headers["Authorization"]}
    own = agent.post("/tasks", json=TASK, headers=admin).raise_for_status().json()["id"]
    task_id = ask(agent)
    for verb in ("complete", "claim"):
        body = {"response": {"approved": True}, "completed_by_email": "ann@example.org"}
        assert error_of(agent.post(f"/tasks/{task_id}/{verb}", json=body)) == (403, "FORBIDDEN")
        assert error_of(agent.post(f"/tasks/{own}/{verb}", json=body, headers=admin)) == (403, "FORBIDDEN")
        assert error_of(agent.post(f"/tasks/{task_id}/{verb}", json=body, headers=reviewer))[0] == 404
    assert len(desk.pending(2)) == 2


# A request that nothing is held for, and the place of its error.
UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"task": " "}, "task"),
    ({"task": None}, "task"),
    ({"idempotency_key": "x" * 201}, "idempotency_key"),
    ({"payload": []}, "payload"),
    ({"payload": {"x": "x" * 70_000}}, "payload"),
    ({"response_schema": {"type": "nothing"}}, "response_schema"),
    ({"response_schema": {**TASK["response_schema"], "required": 5}}, "response_schema"),
    ({"response_schema": {"properties": {"approved": {"anyOf": [{"type": "boolean"}, 7]}}}}, "response_schema"),
    ({"timeout_seconds": None}, "timeout_seconds"),
    ({"timeout_seconds": 59}, "timeout_seconds"),
    ({"assign_to": {"email": "stranger@example.org"}}, "assign_to"),
    ({"assign_to": {"emails": []}}, "assign_to"),
    ({"assign_to": {"pool": "no such group"}}, "assign_to"),
    ({"assign_to": {"role": "kyc", "access_level": "senior"}}, "assign_to"),
    ({"assign_to": {"value": "{'role': 'kyc'}"}}, "assign_to"),
    ({"assign_to": {"marketplace": True}}, "assign_to"),
    ({"verifier_config": {"provider": "claude"}}, "verifier_config"),
    ({"redact_payload": True}, "redact_payload"),
    ({"initial_response": {}}, "initial_response"),
    ({"callback_url": "http://169.254.169.254/"}, "callback_url"),
]


def test_an_unusable_task_holds_nothing(agent: httpx.Client, desk: Desk) -> None:
    for fields, place in UNUSABLE:
        response = agent.post("/tasks", json=TASK | fields)
        assert error_of(response)[0] == 422, fields
        assert response.json()["message"].startswith(place), response.json()
    assert desk.all() == []


def test_an_unusable_request(agent: httpx.Client) -> None:
    for task_id in ("nothing", "%00", "wch_" + "0" * 32):
        assert error_of(agent.get(f"/tasks/{task_id}/poll")) == (404, "TASK_NOT_FOUND")
    task_id = ask(agent)
    for timeout in ("0", "31", "x", "-1", "%C2%B2"):
        assert error_of(agent.get(f"/tasks/{task_id}/poll?timeout={timeout}")) == (422, "VALIDATION_FAILED")
    assert error_of(httpx.get(f"{agent.base_url}tasks/{task_id}")) == (401, "UNAUTHENTICATED")


def test_a_pause_that_only_names_the_door(agent: httpx.Client, desk: Desk) -> None:
    """The agent may send any metadata to the API itself."""
    metadata = {"door": "awaithumans", "submission": 7, "request": 8}
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    body = {"action": "x", "metadata": metadata}
    made = httpx.post(f"{desk.url}/api/pause", json=body, headers=headers).raise_for_status().json()["watchId"]
    desk.decide("approve")
    found = agent.get(f"/tasks/{made}").raise_for_status().json()
    assert (found["status"], found["response"]) == ("cancelled", None)


def test_a_task_that_has_ended_is_not_cancelled(agent: httpx.Client, desk: Desk) -> None:
    task_id = ask(agent)
    desk.decide("approve")
    assert error_of(agent.post(f"/tasks/{task_id}/cancel")) == (409, "TASK_ALREADY_TERMINAL")
    assert poll(agent, task_id)["response"] == {"approved": True}


def test_an_approval_is_handed_out_until_it_ends(agent: httpx.Client, desk: Desk, stack_database: Database) -> None:
    """Each answer is the same, then the task has timed out."""
    task_id = ask(agent)
    desk.decide("approve")
    first = poll(agent, task_id)
    assert (first["status"], first["response"], poll(agent, task_id)) == ("completed", {"approved": True}, first)
    age(stack_database, task_id, 900)
    late = poll(agent, task_id)
    assert (late["status"], late["response"], late["completed_at"]) == ("timed_out", None, None)
    assert late["timed_out_at"] is not None
    assert ask(agent) == task_id


def test_an_approval_that_was_used_elsewhere(agent: httpx.Client, desk: Desk) -> None:
    task_id = ask(agent)
    desk.decide("approve")
    headers = {"Authorization": f"Bearer {desk.agent_key}", "Idempotency-Key": "elsewhere"}
    httpx.post(f"{desk.url}/api/pause/{task_id}/consume", json={}, headers=headers).raise_for_status()
    assert poll(agent, task_id)["status"] == "timed_out"


def test_an_assignee_narrows_who_decides(agent: httpx.Client, desk: Desk, namespace: str, client_for: Clients) -> None:
    ann = f"ann@{namespace}.example"
    person = {"email": ann, "name": "Ann", "role": "reviewer", "namespaces": [namespace]}
    client_for("admin", ["*"]).post("/v1/people", json=person).raise_for_status()
    ask(agent, assign_to={"emails": [ann.upper(), "stranger@example.org"]})
    (pause,) = desk.pending()
    assert pause["waitingFor"]["assignees"] == [ann, "stranger@example.org"]
    assert desk.http.post(f"/api/pause/{pause['watchId']}/approve", json={}).status_code == 403
