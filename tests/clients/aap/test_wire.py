"""The protocol itself, by plain HTTP: what each response contains, and what is refused."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk

CALL = {"tool": "issue_refund", "arguments": {"payment": "p-1", "cents": 4900}, "timeout": "30m"}
CODES = [
    ({"arguments": {}, "timeout": "1m"}, "tool: is required"),
    ({**CALL, "extra": 1}, "extra: is no field of an approval request"),
    ({**CALL, "server": None}, "server: must be a text"),
    ({**CALL, "tool": " "}, "tool: is empty: leave it out, or write something"),
    ({**CALL, "tool": "t" * 201}, "tool: is longer than 200 characters"),
    ({**CALL, "arguments": [1]}, "arguments: must be an object"),
    ({**CALL, "timeout": "0s"}, "timeout: must be a whole number with a unit, like 30s, 10m or 24h"),
    ({**CALL, "timeout": "1.5h"}, "timeout: must be a whole number with a unit, like 30s, 10m or 24h"),
    ({**CALL, "arguments": {"text": "x" * 210_000}}, "is larger than 200 KiB: shorten the arguments or the context"),
]


@pytest.fixture
def agent(desk: Desk) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    with httpx.Client(base_url=f"{desk.url}/aap", headers=headers, timeout=70) as client:
        yield client


def create(agent: httpx.Client, call: Any = CALL, key: str | None = None, status: int = 201) -> dict[str, Any]:
    content = call if isinstance(call, str) else json.dumps(call)
    headers = {"Idempotency-Key": key or str(uuid4()), "Content-Type": "application/json"}
    made = agent.post("/v1/requests", content=content, headers=headers)
    assert made.status_code == status, made.text
    document: dict[str, Any] = made.json()
    return document


def read(agent: httpx.Client, made: dict[str, Any], **query: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/v1/requests/{made['id']}", params=query).raise_for_status().json()
    return found


def consume(agent: httpx.Client, made: dict[str, Any], key: str) -> httpx.Response:
    return agent.post(f"/v1/requests/{made['id']}/consume", headers={"Idempotency-Key": key})


def report(agent: httpx.Client, made: dict[str, Any], **body: Any) -> httpx.Response:
    return agent.post(f"/v1/requests/{made['id']}/outcome", json=body)


def refused(response: httpx.Response, status: int, code: str) -> str:
    """Check the error's shape, and return its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert sorted(error) == ["code", "message", "request_id", "type"]
    assert error["code"] == code
    assert error["request_id"] == response.headers["X-Request-ID"] == str(UUID(error["request_id"]))
    return str(error["message"])


def test_approved_used_and_reported(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent, {**CALL, "server": "bank", "agent_reasoning": "Charged twice.", "context": {"call_id": "c"}})
    assert made["status"] == "pending"
    assert "decision" not in made
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Call issue_refund on bank"
    assert pause["agentContext"]["context"] == {"call_id": "c", "agent_reasoning": "Charged twice."}
    assert pause["agentContext"]["arguments"] == CALL["arguments"]
    assert pause["metadata"]["door"] == "aap"
    assert pause["metadata"]["client"] == {"tool": "issue_refund", "server": "bank", "call": "c"}
    refused(consume(agent, made, "early"), 409, "not_approved")
    desk.decide("approve", comment="Confirmed")
    approved = read(agent, made, wait="30s")
    assert approved["decision"]["status"] == approved["status"] == "approved"
    assert approved["decision"]["note"] == "Confirmed"
    assert approved["created_at"] <= approved["decision"]["decided_at"] < approved["decision"]["expires_at"]
    refused(report(agent, made, status="succeeded"), 409, "not_consumed")
    used = consume(agent, made, "one").raise_for_status().json()
    assert used == approved | {"consumption": used["consumption"]}
    assert consume(agent, made, "one").raise_for_status().json() == used
    refused(consume(agent, made, "two"), 409, "already_consumed")
    refused(report(agent, made, status="unknown"), 400, "invalid_request")
    refused(report(agent, made, status="failed", note=None), 400, "invalid_request")
    done = report(agent, made, status="failed", note="declined").raise_for_status().json()
    assert done["consumption"]["outcome"].items() >= {"status": "failed", "note": "declined"}.items()
    assert report(agent, made, status="failed", note="declined").raise_for_status().json() == done
    refused(report(agent, made, status="succeeded"), 409, "outcome_conflict")
    assert read(agent, made) == done


def test_rejected(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent)
    desk.decide("reject", comment="Too much")
    denied = read(agent, made)
    assert denied["decision"].items() >= {"status": "denied", "note": "Too much"}.items()
    assert "expires_at" not in denied["decision"]
    refused(consume(agent, made, "one"), 409, "not_approved")
    refused(agent.delete(f"/v1/requests/{made['id']}"), 409, "already_terminal")


def test_an_edit_is_a_denial_that_names_the_arguments(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent)
    desk.decide("approve", comment="Not all of it", arguments={"payment": "p-1", "cents": 100}, revision=1)
    denied = read(agent, made)
    assert denied["status"] == "denied"
    assert denied["arguments"] == CALL["arguments"]
    assert denied["decision"]["note"] == (
        "Not all of it\nThe reviewer approved other arguments. Request approval of a call with these:"
        ' {"payment":"p-1","cents":100}'
    )
    refused(consume(agent, made, "one"), 409, "not_approved")
    assert "consumption" not in desk.all()[0]


def test_an_edit_that_changes_nothing(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent)
    desk.decide("approve", arguments={"cents": 4900, "payment": "p-1"}, revision=1)
    assert read(agent, made)["status"] == "approved"


def test_expired(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent, {**CALL, "timeout": "1s"})
    expired = read(agent, made, wait="30s")
    assert expired["status"] == expired["decision"]["status"] == "expired"
    assert expired["decision"]["decided_at"] == expired["deadline_at"] == made["deadline_at"]
    refused(consume(agent, made, "one"), 409, "not_approved")


def test_an_approval_by_the_timeout_is_too_late(
    agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client], namespace: str
) -> None:
    """The protocol forbids an approval after the deadline, whatever the namespace does at a timeout."""
    floor = client_for("admin").put(
        f"/v1/namespaces/{namespace}", json={"review": None, "allowed_on_timeout": ["approve"]}
    )
    assert floor.status_code == 200, floor.text
    made = create(agent, {**CALL, "timeout": "1s"})
    assert wait_until(lambda: read(agent, made)["status"] != "pending", WITHIN)
    assert [pause["status"] for pause in desk.all()] == ["approved"]
    assert read(agent, made)["status"] == "expired"
    refused(consume(agent, made, "one"), 409, "not_approved")


def test_cancelled(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent)
    gone = agent.delete(f"/v1/requests/{made['id']}").raise_for_status().json()
    assert gone["status"] == gone["decision"]["status"] == "cancelled"
    assert agent.delete(f"/v1/requests/{made['id']}").raise_for_status().json() == gone
    refused(consume(agent, made, "one"), 409, "not_approved")


def test_an_approval_is_valid_for_a_time_only(
    agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client], namespace: str
) -> None:
    limit = client_for("admin").put(f"/v1/namespaces/{namespace}", json={"review": None, "approval_valid_for": 1})
    assert limit.status_code == 200, limit.text
    made = create(agent)
    desk.decide("approve")
    late = datetime.fromisoformat(read(agent, made)["decision"]["expires_at"])
    assert wait_until(lambda: datetime.now(UTC) > late, WITHIN)
    refused(consume(agent, made, "one"), 409, "approval_expired")


NUMBERS = '{"a":1,"b":1.0,"c":1e2,"d":12345678901234567890,"e":0.1000000000000000055511151231257827,"f":1e400,"g":-0.0}'


def test_the_submission_comes_back_as_it_was_sent(agent: httpx.Client, desk: Desk) -> None:
    text = f' {{"tool":"transfer", "timeout":"30m","arguments":{NUMBERS}, "context":{{"é":[null,{{}}]}} }} \n'
    key = str(uuid4())
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    made = agent.post("/v1/requests", content=text, headers=headers)
    assert made.status_code == 201, made.text
    assert made.text.startswith(text.rstrip().removesuffix("}").rstrip())
    sent = json.loads(text, parse_float=Decimal)
    found = json.loads(made.text, parse_float=Decimal)
    assert {name: found[name] for name in sent} == sent
    (pause,) = desk.pending()
    shown = pause["agentContext"]["arguments"]
    assert shown["d"] == "12345678901234567890", "no double holds it, so the reviewer reads its text"
    assert shown["e"] == "0.1000000000000000055511151231257827"
    assert shown["f"] == "1e400"
    assert (shown["a"], shown["b"], shown["c"]) == (1, 1.0, 100.0)
    desk.decide("approve")
    assert consume(agent, made.json(), "one").text.startswith(text.rstrip().removesuffix("}").rstrip())


def test_a_key_is_one_request(agent: httpx.Client, desk: Desk) -> None:
    made = create(agent, key="k1")
    assert create(agent, key="k1", status=200) == made
    other_order = '{"timeout":"30m", "arguments":{"cents":4900,"payment":"p-1"},"tool":"issue_refund"}'
    assert create(agent, other_order, key="k1", status=200) == made
    desk.decide("approve")
    assert create(agent, key="k1", status=200)["status"] == "approved"
    other = agent.post("/v1/requests", json={**CALL, "timeout": "31m"}, headers={"Idempotency-Key": "k1"})
    assert "new key" in refused(other, 409, "idempotency_conflict")
    refused(agent.post("/v1/requests", json=CALL), 400, "missing_idempotency_key")
    assert len(desk.all()) == 1


def test_a_key_that_another_request_takes_at_the_same_time(agent: httpx.Client, desk: Desk) -> None:
    """The door finds no request yet, but the key of its creation is taken."""
    create(agent)
    (pause,) = desk.pending()
    key = hashlib.sha256(f"aap\n{pause['createdBy']}\nk1".encode()).hexdigest()
    headers = {"Authorization": f"Bearer {desk.agent_key}", "Idempotency-Key": key}
    httpx.post(f"{desk.url}/api/pause", json={"action": "x"}, headers=headers).raise_for_status()
    answer = agent.post("/v1/requests", json=CALL, headers={"Idempotency-Key": "k1"})
    assert "new id" in refused(answer, 409, "idempotency_conflict")


def test_a_time_that_the_namespace_does_not_allow(
    agent: httpx.Client, client_for: Callable[..., httpx.Client], namespace: str
) -> None:
    limit = client_for("admin").put(f"/v1/namespaces/{namespace}", json={"review": None, "min_expires_in": 3600})
    assert limit.status_code == 200, limit.text
    answer = agent.post("/v1/requests", json=CALL, headers={"Idempotency-Key": "k1"})
    assert refused(answer, 400, "invalid_request").startswith("timeout: must be at least 3600 s")


@pytest.mark.parametrize(("call", "message"), CODES, ids=[message[:20] for _, message in CODES])
def test_refused_submissions(agent: httpx.Client, desk: Desk, call: dict[str, Any], message: str) -> None:
    answer = agent.post("/v1/requests", json=call, headers={"Idempotency-Key": str(uuid4())})
    assert refused(answer, 400, "invalid_request") == message
    assert desk.all() == []


@pytest.mark.parametrize("text", ['{"tool":"a","tool":"b"}', '{"tool":"a\\u0000"}', "[]", "{", '{"tool":NaN}'])
def test_refused_json(agent: httpx.Client, text: str) -> None:
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    answer = agent.post("/v1/requests", content=text, headers=headers)
    assert answer.status_code == 400
    assert refused(answer, 400, answer.json()["error"]["code"])


def test_requests_of_others(agent: httpx.Client, desk: Desk, client_for: Callable[..., httpx.Client]) -> None:
    made = create(agent)
    other = client_for("agent").get(f"/aap/v1/requests/{made['id']}")
    refused(other, 404, "not_found")
    refused(agent.get(f"/v1/requests/{uuid4()}"), 404, "not_found")
    refused(agent.get("/v1/requests/nonsense"), 404, "not_found")
    refused(client_for("reviewer").post("/aap/v1/requests", json=CALL), 403, "forbidden")
    refused(httpx.get(f"{desk.url}/aap/v1/requests/{made['id']}"), 401, "unauthenticated")
    refused(agent.get(f"/v1/requests/{made['id']}", params={"wait": "soon"}), 400, "invalid_request")


def test_a_pause_that_only_claims_to_be_a_request(agent: httpx.Client, desk: Desk) -> None:
    forged = {"door": "aap", "submission": {"json": "{}"}}
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    body = {"action": "x", "metadata": forged, "externalId": "k1"}
    made = httpx.post(f"{desk.url}/api/pause", json=body, headers=headers).raise_for_status().json()
    id_ = str(UUID(made["watchId"].removeprefix("wch_")))
    refused(agent.get(f"/v1/requests/{id_}"), 404, "not_found")
    again = agent.post("/v1/requests", json=CALL, headers={"Idempotency-Key": "k1"})
    refused(again, 409, "idempotency_conflict")
