"""Decisions over HTTP: approve, reject, cancel, edit and respond; the first decision is final."""

from typing import Any

import pytest

from tests.api.conftest import Team, refused


def test_a_decision_tells_who_when_and_why(team: Team) -> None:
    pause = team.pause(arguments={"version": 1})
    approved = team.reviewer.post(f"/api/pause/{pause['watchId']}/approve", json={"comment": "Looks right"}).json()
    key = next(key for key in team.admin.get("/v1/keys").json()["items"] if key["role"] == "reviewer")
    decision = approved["decision"]
    assert decision == {
        "outcome": "approved",
        "decidedBy": key["id"],
        "decidedByName": "test reviewer",
        "decidedAt": approved["resolvedAt"],
        "comment": "Looks right",
        "arguments": {"version": 1},
        "response": None,
        "votes": [
            {
                "outcome": "approved",
                "by": key["id"],
                "byName": "test reviewer",
                "at": approved["resolvedAt"],
                "comment": "Looks right",
                "response": None,
                "revision": 1,
                "stage": 0,
                "onBehalfOf": None,
                "counts": True,
            }
        ],
    }
    assert team.agent.get(f"/api/pause/{pause['watchId']}").json() == approved


@pytest.mark.parametrize(
    ("verb", "body", "outcome"),
    [
        ("approve", {}, "approved"),
        ("approve", {"decision": "approve"}, "approved"),
        ("approve", {"decision": "reject", "comment": "No"}, "rejected"),
        ("reject", {"comment": "No"}, "rejected"),
        ("approve", None, "approved"),
        ("reject", None, "rejected"),
    ],
)
def test_a_decision(verb: str, body: dict[str, Any] | None, outcome: str, team: Team) -> None:
    """An empty body with no content type is a plain yes or no: `curl -X POST` is enough."""
    url = f"/api/pause/{team.pause()['watchId']}/{verb}"
    answer = team.reviewer.post(url) if body is None else team.reviewer.post(url, json=body)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["decision"]["outcome"]) == (outcome, outcome)
    assert answer.json()["decision"]["comment"] == (body or {}).get("comment")


@pytest.mark.parametrize("by", ["operator", "admin"])
def test_operators_and_admins_decide_too(by: str, team: Team) -> None:
    assert getattr(team, by).post(f"/api/pause/{team.pause()['watchId']}/approve").status_code == 200


@pytest.mark.parametrize(("first", "contrary"), [("approve", "reject"), ("reject", "approve")])
def test_the_first_decision_stands(first: str, contrary: str, team: Team) -> None:
    """Repeating a decision changes nothing; the opposite one gets the stored decision."""
    watch_id = team.pause()["watchId"]
    decided = team.reviewer.post(f"/api/pause/{watch_id}/{first}", json={"comment": "first"}).json()
    again = team.operator.post(f"/api/pause/{watch_id}/{first}", json={"comment": "second"})
    assert (again.status_code, again.json()) == (200, decided)
    for client, verb in ((team.operator, contrary), (team.agent, "cancel")):
        problem = refused(client.post(f"/api/pause/{watch_id}/{verb}"), 409, "ALREADY_RESOLVED")
        assert problem["current"] == decided
    assert team.agent.get(f"/api/pause/{watch_id}").json() == decided


def test_its_creator_takes_a_pause_back(team: Team) -> None:
    watch_id = team.pause()["watchId"]
    cancelled = team.agent.post(f"/api/pause/{watch_id}/cancel", json={"comment": "Not needed"})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["decision"]["comment"] == "Not needed"
    assert team.agent.post(f"/api/pause/{watch_id}/cancel").json() == cancelled.json()
    refused(team.reviewer.post(f"/api/pause/{watch_id}/approve"), 409, "ALREADY_RESOLVED")


def test_a_reviewer_corrects_what_will_be_executed(team: Team) -> None:
    """The edit is a new revision with a digest of its own, and it is what the agent reads."""
    pause = team.pause(arguments={"replicas": 300})
    body = {"arguments": {"replicas": 3}, "revision": 1}
    approved = team.reviewer.post(f"/api/pause/{pause['watchId']}/approve", json=body).json()
    assert approved["revision"] == 2
    assert approved["argumentsDigest"] != pause["argumentsDigest"]
    assert approved["agentContext"]["arguments"] == approved["decision"]["arguments"] == {"replicas": 3}
    other = {"arguments": {"replicas": 4}}
    refused(team.reviewer.post(f"/api/pause/{pause['watchId']}/approve", json=other), 409, "ALREADY_RESOLVED")
    assert (
        team.reviewer.post(f"/api/pause/{pause['watchId']}/approve", json=body | {"revision": None}).json() == approved
    )


def test_sending_the_same_arguments_is_no_edit(team: Team) -> None:
    pause = team.pause(arguments={"a": 1, "b": 2})
    approved = team.reviewer.post(f"/api/pause/{pause['watchId']}/approve", json={"arguments": {"b": 2, "a": 1.0}})
    assert (approved.json()["revision"], approved.json()["argumentsDigest"]) == (1, pause["argumentsDigest"])


def test_arguments_where_the_agent_posted_none(team: Team) -> None:
    url = f"/api/pause/{team.pause()['watchId']}/approve"
    refused(team.reviewer.post(url, json={"arguments": {}}), 422, "VALIDATION_FAILED", "arguments")


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_decision_on_a_revision_that_is_not_there(verb: str, team: Team) -> None:
    watch_id = team.pause(arguments={"a": 1})["watchId"]
    refused(team.reviewer.post(f"/api/pause/{watch_id}/{verb}", json={"revision": 2}), 409, "REVISION_CHANGED")
    assert team.agent.get(f"/api/pause/{watch_id}").json()["status"] == "pending"


def test_the_answer_that_the_agent_asks_for(team: Team) -> None:
    """The response must match its schema, and errors name paths. An approval needs it, a rejection does not."""
    schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"$ref": "#/$defs/money"}, "notes": {"items": {"type": "string"}}},
        "$defs": {"money": {"type": "integer", "maximum": 100}},
    }
    url = f"/api/pause/{team.pause(responseSchema=schema)['watchId']}/approve"
    refused(team.reviewer.post(url), 422, "VALIDATION_FAILED", "response")
    for answer, path in (
        ({"amount": 101}, "response.amount"),
        ({"amount": 5, "notes": ["a", 1]}, "response.notes[1]"),
        ({}, "response"),
        ([], "response"),
    ):
        refused(team.reviewer.post(url, json={"response": answer}), 422, "VALIDATION_FAILED", path)
    approved = team.reviewer.post(url, json={"response": {"amount": 5}})
    assert (approved.status_code, approved.json()["decision"]["response"]) == (200, {"amount": 5})
    rejected = team.reviewer.post(f"/api/pause/{team.pause(responseSchema=schema)['watchId']}/reject")
    assert rejected.json()["status"] == "rejected"


def test_a_response_without_a_schema(team: Team) -> None:
    url = f"/api/pause/{team.pause()['watchId']}/approve"
    refused(team.reviewer.post(url, json={"response": {}}), 422, "VALIDATION_FAILED", "response")
