"""/api/pause/{id}/consume and /outcome: an approval is used once, and its outcome is reported."""

import base64
import json
from typing import Any

import httpx
import pytest

from domain.values import canonical_json
from tests.api.conftest import Team, refused, until

ARGUMENTS = {"order": 1042, "amount_cents": 9900}
DIGEST = canonical_json.digest(ARGUMENTS).hex()


def approved(team: Team, **fields: Any) -> str:
    watch_id = str(team.pause(arguments=ARGUMENTS, **fields)["watchId"])
    assert team.reviewer.post(f"/api/pause/{watch_id}/approve", json={}).status_code == 200
    return watch_id


def consume(client: httpx.Client, watch_id: str, key: str | None = "refund-1042-a", **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/api/pause/{watch_id}/consume", json=body, headers=headers)


def report(client: httpx.Client, watch_id: str, **body: Any) -> httpx.Response:
    return client.post(f"/api/pause/{watch_id}/outcome", json=body)


def test_an_approval_is_used_and_reported(team: Team) -> None:
    watch_id = approved(team, approvalValidFor=3600, outcomeWithin=60)
    first = consume(team.agent, watch_id, argumentsDigest=DIGEST)
    assert first.status_code == 200, first.text
    document = first.json()
    assert (document["approvalValidFor"], document["outcomeWithin"]) == (3600, 60)
    assert document["decision"]["validUntil"] > document["decision"]["decidedAt"]
    assert document["consumption"].keys() == {"consumedAt", "outcomeDueAt"}
    assert "Idempotent-Replayed" not in first.headers
    again = consume(team.agent, watch_id, argumentsDigest=DIGEST)
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (200, document, "true")
    told = report(team.agent, watch_id, status="succeeded", note="done", result={"id": "R-7"})
    outcome = told.json()["consumption"]["outcome"]
    assert outcome.pop("reportedAt") >= document["consumption"]["consumedAt"]
    assert outcome == {"status": "succeeded", "note": "done", "result": {"id": "R-7"}}
    same = report(team.agent, watch_id, status="succeeded", note="done", result={"id": "R-7"})
    assert (same.status_code, same.json(), same.headers["Idempotent-Replayed"]) == (200, told.json(), "true")
    assert team.reviewer.get(f"/api/pause/{watch_id}").json() == told.json()


def test_conflicts_tell_the_state(team: Team) -> None:
    """Each has its own code, and the pause as it is."""
    watch_id = team.pause(arguments=ARGUMENTS)["watchId"]
    problem = refused(consume(team.agent, watch_id), 409, "NOT_APPROVED")
    assert problem["current"]["status"] == "pending"
    refused(report(team.agent, watch_id, status="failed"), 409, "NOT_CONSUMED")
    team.reviewer.post(f"/api/pause/{watch_id}/approve", json={"arguments": {"order": 1042, "amount_cents": 1}})
    problem = refused(consume(team.agent, watch_id, argumentsDigest=DIGEST), 409, "ARGUMENTS_CHANGED")
    assert problem["current"]["argumentsDigest"] in problem["detail"]
    assert consume(team.agent, watch_id, argumentsDigest=problem["current"]["argumentsDigest"]).status_code == 200
    problem = refused(consume(team.agent, watch_id, "refund-1042-b"), 409, "ALREADY_CONSUMED")
    assert problem["current"]["consumption"]["consumedAt"] in problem["detail"]
    assert report(team.agent, watch_id, status="failed").status_code == 200
    problem = refused(report(team.agent, watch_id, status="succeeded"), 409, "OUTCOME_CONFLICT")
    assert problem["current"]["consumption"]["outcome"]["status"] == "failed"


def test_an_approval_becomes_invalid(team: Team) -> None:
    watch_id = approved(team, approvalValidFor=1)
    until(
        lambda: (
            consume(team.agent, watch_id, "late-refund", argumentsDigest="0" * 64).json()["code"] == "APPROVAL_EXPIRED"
        )
    )
    problem = refused(consume(team.agent, watch_id), 409, "APPROVAL_EXPIRED")
    assert problem["current"]["decision"]["validUntil"] in problem["detail"]


@pytest.mark.parametrize("key", ["short", "x" * 129, "with blank", "tab\tinside"])
def test_a_use_needs_a_proper_key(key: str, team: Team) -> None:
    watch_id = approved(team)
    problem = refused(consume(team.agent, watch_id, None), 422, "VALIDATION_FAILED", "Idempotency-Key")
    assert "keep it" in problem["detail"]
    refused(consume(team.agent, watch_id, key), 400, "MALFORMED_IDEMPOTENCY_KEY")
    assert consume(team.agent, watch_id, "x" * 128).status_code == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "status"),
        ({"status": "missing"}, "status"),
        ({"status": "succeeded", "note": "x" * 1001}, "note"),
        ({"status": "succeeded", "result": "x" * 64 * 1024}, "result"),
        ({"status": "succeeded", "more": 1}, "more"),
    ],
)
def test_limits_of_a_report(body: dict[str, Any], path: str, team: Team) -> None:
    watch_id = approved(team)
    consume(team.agent, watch_id)
    refused(report(team.agent, watch_id, **body), 422, "VALIDATION_FAILED", path)
    largest = {"note": "x" * 1000, "result": "x" * (64 * 1024 - 2)}
    assert report(team.agent, watch_id, status="succeeded", **largest).status_code == 200


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("approvalValidFor", [0, -1, 31_536_001, 1.5, "60", True], [1, 31_536_000, None]),
        ("outcomeWithin", [59, 2_592_001, "900"], [60, 2_592_000, None]),
    ],
)
def test_limits_of_a_request(field: str, wrong: list[Any], right: list[Any], team: Team) -> None:
    for value in wrong:
        refused(team.agent.post("/api/pause", json={"action": "Pay", field: value}), 422, "VALIDATION_FAILED", field)
    for value in right:
        assert team.pause(**{field: value}).get(field) == value


def test_a_digest_is_64_digits(team: Team) -> None:
    watch_id = approved(team)
    for digest in ("", "0" * 63, "A" * 64, 5):
        refused(consume(team.agent, watch_id, argumentsDigest=digest), 422, "VALIDATION_FAILED", "argumentsDigest")
    assert consume(team.agent, watch_id, argumentsDigest=None).status_code == 200


def test_only_its_agent_uses_an_approval(team: Team, stranger: httpx.Client) -> None:
    """Others of the namespace may not, and those of another do not see it."""
    watch_id = approved(team)
    for call in (consume, lambda client, id_: report(client, id_, status="failed")):
        for client, status in ((team.reviewer, 403), (team.operator, 403), (team.admin, 403), (stranger, 404)):
            assert call(client, watch_id).status_code == status
    assert "consumption" not in team.agent.get(f"/api/pause/{watch_id}").json()


def test_lists_find_what_is_left_to_do(team: Team) -> None:
    tag = "left-to-do"

    def found(**query: str) -> list[str]:
        page = team.agent.get("/api/pause", params={"tag": tag, **query}).json()
        return [item["watchId"] for item in page["items"]]

    unused, used, unknown = (approved(team, tags=[tag]) for _ in range(3))
    for watch_id in (used, unknown):
        consume(team.agent, watch_id)
    report(team.agent, used, status="succeeded")
    report(team.agent, unknown, status="unknown")
    assert found(status="approved", consumed="false") == [unused]
    assert found(consumed="true") == [unknown, used]
    assert found(outcome="unknown") == [unknown]
    assert found(outcome="succeeded") == [used]
    assert found(outcome="missing") == []
    assert found(decided="true", outcome="succeeded") == [used]
    for name, value in (("consumed", "yes"), ("outcome", "lost")):
        refused(team.agent.get("/api/pause", params={name: value}), 422, "VALIDATION_FAILED", name)


def test_an_etag_changes_with_use_and_outcome(team: Team) -> None:
    watch_id = approved(team)
    seen = []
    for step in (
        lambda: None,
        lambda: consume(team.agent, watch_id),
        lambda: report(team.agent, watch_id, status="failed"),
    ):
        step()
        seen.append(team.agent.get(f"/api/pause/{watch_id}").headers["ETag"])
    assert len(set(seen)) == 3
    unchanged = team.agent.get(f"/api/pause/{watch_id}", headers={"If-None-Match": seen[-1]})
    assert unchanged.status_code == 304


def test_a_namespace_limits_the_validity(elsewhere: str, stranger: httpx.Client) -> None:
    body = {"review": None, "approval_valid_for": 900}
    set_ = stranger.put(f"/v1/namespaces/{elsewhere}", json=body)
    assert (set_.status_code, set_.json()["approval_valid_for"]) == (200, 900)
    made = [
        stranger.post("/api/pause", json={"action": "Pay", **more}).json() for more in ({}, {"approvalValidFor": 60})
    ]
    assert [pause["approvalValidFor"] for pause in made] == [900, 60]
    for wrong in (0, 31_536_001, "900"):
        answer = stranger.put(f"/v1/namespaces/{elsewhere}", json=body | {"approval_valid_for": wrong})
        refused(answer, 422, "VALIDATION_FAILED", "approval_valid_for")
    cleared = stranger.put(f"/v1/namespaces/{elsewhere}", json={"review": None, "approval_valid_for": None})
    assert cleared.json()["approval_valid_for"] is None


def test_events_before_the_decision_do_not_tell_of_the_use(team: Team) -> None:
    watch_id = approved(team)
    assert consume(team.agent, watch_id).status_code == 200
    lines = team.agent.get(f"/api/pause/{watch_id}/events").text.splitlines()
    first, last = (json.loads(line.removeprefix("data: "))["data"] for line in lines if line.startswith("data: "))
    assert (first["status"], first.get("consumption")) == ("pending", None)
    assert (last["status"], last["consumption"].keys()) == ("approved", {"consumedAt", "outcomeDueAt"})


def test_an_operator_settles_the_outcome(team: Team) -> None:
    """A reviewer and the agent may not; the note is required; the page and the receipt name the operator."""
    watch_id = approved(team)
    path = f"/api/pause/{watch_id}/settle"
    found = {"status": "succeeded", "note": "in the ledger"}
    refused(team.operator.post(path, json=found), 409, "NOT_CONSUMED")
    consume(team.agent, watch_id)
    problem = refused(team.operator.post(path, json=found), 409, "OUTCOME_CONFLICT")
    assert "may still report" in problem["detail"]
    report(team.agent, watch_id, status="unknown", note="the line broke")
    for client in (team.agent, team.reviewer):
        refused(client.post(path, json=found), 403, "FORBIDDEN")
    refused(team.operator.post(path, json={"status": "unknown", "note": "x"}), 422, "VALIDATION_FAILED", "status")
    for note in (None, ""):
        refused(team.operator.post(path, json={**found, "note": note}), 422, "VALIDATION_FAILED", "note")
    before = team.reviewer.get(f"/api/pause/{watch_id}").headers["ETag"]
    settled = team.operator.post(path, json=found)
    assert settled.status_code == 200, settled.text
    outcome = settled.json()["consumption"]["outcome"]
    told = (outcome["status"], outcome["note"], outcome["settledByName"])
    assert told == ("succeeded", "in the ledger", "test operator")
    again = team.operator.post(path, json=found)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (settled.json(), "true")
    assert team.reviewer.get(f"/api/pause/{watch_id}").headers["ETag"] != before
    refused(team.operator.post(path, json={**found, "status": "failed"}), 409, "OUTCOME_CONFLICT")
    payload = team.agent.get(f"/api/pause/{watch_id}/receipt").text.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["execution"]["settled_by"] == outcome["settledBy"]
