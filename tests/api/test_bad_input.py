"""Bodies that are JSON and mean nothing, over the real server: refused with the path of the field, nothing changed."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.adapters.receiver import Receiver
from tests.api.conftest import Team, refused

KIB = 1024


@pytest.fixture(scope="module")
def agent(team: Team) -> Iterator[httpx.Client]:
    """Whatever was sent, the server is ready after it all and takes the next request."""
    yield team.agent
    assert team.agent.get("/readyz").status_code == 200
    assert team.agent.post("/api/pause", json={"action": "Next, please"}).status_code == 201


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("action", "", "action"),
        ("action", "   ", "action"),
        ("action", "x" * 501, "action"),
        ("action", 5, "action"),
        ("action", None, "action"),
        ("context", [], "context"),
        ("context", "text", "context"),
        ("context", {"a": "x" * 256 * KIB}, "context"),
        ("arguments", {"a": "x" * 256 * KIB}, "arguments"),
        ("metadata", {"a": "é" * 128 * KIB}, "metadata"),
        ("metadata", 1, "metadata"),
        ("tags", ["a b"], "tags[0]"),
        ("tags", ["ok", ""], "tags[1]"),
        ("tags", ["a,b"], "tags[0]"),
        ("tags", ["a\n"], "tags[0]"),
        ("tags", ["x" * 65], "tags[0]"),
        ("tags", [str(n) for n in range(21)], "tags"),
        ("tags", "one", "tags"),
        ("priority", 10, "priority"),
        ("priority", -1, "priority"),
        ("priority", "5", "priority"),
        ("priority", True, "priority"),
        ("priority", 2.5, "priority"),
        ("namespace", "Upper", "namespace"),
        ("namespace", "-a", "namespace"),
        ("namespace", "a\n", "namespace"),
        ("namespace", "a" * 64, "namespace"),
        ("namespace", "*", "namespace"),
        ("namespace", "", "namespace"),
        ("expiresIn", 0, "expiresIn"),
        ("expiresIn", -5, "expiresIn"),
        ("expiresIn", 10**12, "expiresIn"),
        ("expiresIn", "60", "expiresIn"),
        ("expiresIn", 1.5, "expiresIn"),
        ("expiresAt", "2030-01-01T00:00:00", "expiresAt"),
        ("expiresAt", "0001-01-01T00:00:00+14:00", "expiresAt"),
        ("expiresAt", "9999-12-31T23:59:59-14:00", "expiresAt"),
        ("expiresAt", "9999-12-31T23:59:59Z", "expiresAt"),
        ("expiresAt", "2020-01-01T00:00:00Z", "expiresAt"),
        ("expiresAt", "2030-01-01T24:00:01Z", "expiresAt"),
        ("expiresAt", "2030-02-30T00:00:00Z", "expiresAt"),
        ("expiresAt", "tomorrow", "expiresAt"),
        ("expiresAt", 1900000000, "expiresAt"),
        ("onTimeout", "escalate", "onTimeout"),
        ("onTimeout", None, "onTimeout"),
        ("onTimeout", {}, "onTimeout"),
        ("callbackUrl", 7, "callbackUrl"),
        ("callbackUrl", "", "callbackUrl"),
        ("expires_in", 60, "expires_in"),
        ("watchId", "wch_1", "watchId"),
        ("__proto__", {}, "__proto__"),
    ],
)
def test_a_field_that_means_nothing(field: str, value: object, path: str, agent: httpx.Client) -> None:
    answer = agent.post("/api/pause", json={"action": "Deploy", field: value})
    refused(answer, 422, "VALIDATION_FAILED", path)


@pytest.mark.parametrize("value", ["2030-01-01T00:00:00Z", None])
def test_two_expiries(value: str | None, agent: httpx.Client) -> None:
    body = {"action": "Deploy", "expiresIn": 60, "expiresAt": value}
    refused(agent.post("/api/pause", json=body), 422, "VALIDATION_FAILED", "expiresAt")


@pytest.mark.parametrize(
    ("review", "path"),
    [
        ({"groups": "ops"}, "review.groups"),
        ({"groups": [""]}, "review.groups[0]"),
        ({"groups": ["ops", "ops"]}, "review.groups[1]"),
        ({"assignees": ["ann"]}, "review.assignees"),
        ({"allow_self": "yes"}, "review.allow_self"),
        ({"reject_on": "most"}, "review.reject_on"),
        ({"approvals": 1, "stages": [{}]}, "review.approvals"),
        ({"stages": [{}, {"approvals": 0}]}, "review.stages[1].approvals"),
        ({"stages": [{"stages": []}]}, "review.stages[0].stages"),
        ({"stages": {}}, "review.stages"),
        ({"remind_after": [0]}, "review.remind_after"),
        ({"escalate": {"after": 60}}, "review.escalate.to"),
        ({"escalate": {"to": {}}}, "review.escalate.to"),
        ({"escalate": {"to": {"groups": ["ops"]}, "after": "1h"}}, "review.escalate.after"),
        ({"nonsense": 1}, "review.nonsense"),
    ],
)
def test_a_review_policy_that_cannot_be_read(review: object, path: str, agent: httpx.Client) -> None:
    refused(agent.post("/api/pause", json={"action": "Deploy", "review": review}), 422, "VALIDATION_FAILED", path)


@pytest.mark.parametrize("approvals", [0, -1, True, "1", 1.5, None, []])
def test_a_review_policy_that_means_nothing(approvals: object, agent: httpx.Client) -> None:
    answer = agent.post("/api/pause", json={"action": "Deploy", "review": {"approvals": approvals}})
    refused(answer, 422, "VALIDATION_FAILED", "review.approvals")


def test_the_review_policies_that_are_there(agent: httpx.Client) -> None:
    for review in ({"approvals": 1}, {}, None):
        made = agent.post("/api/pause", json={"action": "Deploy", "review": review})
        assert made.json()["review"] == {"approvals": 1}


def doubling(levels: int) -> dict[str, Any]:
    """Each level asks for the next one twice: 2**levels looks at one value."""
    levels_ = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": levels_ | {f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(("body", "path"), [([], ""), ({"action": "x", "context": "text"}, "context")])
def test_a_value_that_is_no_object_is_named_in_words_of_json(body: object, path: str, agent: httpx.Client) -> None:
    errors = agent.post("/api/pause", json=body).json()["errors"]
    assert errors == [{"path": path, "message": "Not an object, like {}."}]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 5},
        {"pattern": "("},
        {"pattern": "(a)\\1"},
        {"pattern": "((a{1,1000}){1,1000}){1,1000}"},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$ref": "file:///etc/passwd"},
        {"$dynamicRef": "#a", "$dynamicAnchor": "a"},
        {"properties": {"a": {"$id": "http://x/", "$ref": "#/$defs/a"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"child": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        doubling(20),
        doubling(60),
        {"enum": list(range(5_000))},
        {"$schema": "http://example.com/own"},
        [],
        "x",
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_a_response_schema_that_cannot_be_used(schema: object, agent: httpx.Client) -> None:
    answer = agent.post("/api/pause", json={"action": "Deploy", "responseSchema": schema})
    refused(answer, 422, "VALIDATION_FAILED", "responseSchema")


def test_a_response_schema_elsewhere_is_not_fetched(agent: httpx.Client) -> None:
    with Receiver() as receiver:
        for schema in ({"$ref": receiver.url}, {"$schema": receiver.url}, {"allOf": [{"$ref": f"{receiver.url}#/a"}]}):
            answer = agent.post("/api/pause", json={"action": "Deploy", "responseSchema": schema})
            refused(answer, 422, "VALIDATION_FAILED", "responseSchema")
        assert receiver.connections == 0


def test_a_pattern_without_end_does_not_hang(team: Team) -> None:
    """(a+)+$ takes a backtracking engine longer than the universe; ours reads the text once."""
    body = {"responseSchema": {"type": "string", "pattern": "^(a+)+$"}}
    watch_id, reviewer = team.pause(**body)["watchId"], team.reviewer
    answer = reviewer.post(f"/api/pause/{watch_id}/approve", json={"response": "a" * 50_000 + "b"})
    refused(answer, 422, "VALIDATION_FAILED", "response")
    assert reviewer.post(f"/api/pause/{watch_id}/approve", json={"response": "aaa"}).status_code == 200


def test_an_answer_too_large_for_its_schema(team: Team) -> None:
    body = {"responseSchema": {"items": {"anyOf": [{"const": n} for n in range(400)]}}}
    watch_id, reviewer = team.pause(**body)["watchId"], team.reviewer
    refused(
        reviewer.post(f"/api/pause/{watch_id}/approve", json={"response": [-1] * 60_000}),
        422,
        "VALIDATION_FAILED",
        "response",
    )
    assert reviewer.post(f"/api/pause/{watch_id}/approve", json={"response": [1, 2, 3]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"comment": "x" * 10_001}, "comment"),
        ({"comment": 5}, "comment"),
        ({"arguments": []}, "arguments"),
        ({"arguments": {"a": "x" * 256 * KIB}}, "arguments"),
        ({"response": "x" * 256 * KIB}, "response"),
        ({"response": 1}, "response"),
        ({"revision": 0}, "revision"),
        ({"revision": "1"}, "revision"),
        ({"revision": 2**31}, "revision"),
        ({"decision": "maybe"}, "decision"),
        ({"decision": "reject", "arguments": {}}, "arguments"),
        ({"note": "x"}, "note"),
    ],
)
def test_a_decision_that_means_nothing(body: object, path: str, team: Team) -> None:
    """It is refused, and nothing is decided."""
    made = team.pause(arguments={"a": 1})
    answer = team.reviewer.post(f"/api/pause/{made['watchId']}/approve", json=body)
    refused(answer, 422, "VALIDATION_FAILED", path)
    assert team.agent.get(f"/api/pause/{made['watchId']}").json() == made


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "/api/pause?limit=0", None, "limit: must be 1 to 100"),
        ("GET", "/api/pause?limit=x&offset=-1&status=lost", None, "limit: not a valid integer (and 2 more)"),
        ("POST", "/api/pause", {}, "action: missing data for required field"),
        ("POST", "/api/pause", [], "not an object, like {}"),
        ("POST", "/api/pause", {"action": "x", "colour": 1}, "colour: unknown field"),
        (
            "POST",
            "/api/pause",
            {"action": "x", "expiresIn": "1h"},
            "expiresIn: not a whole number of seconds, like 3600 for an hour",
        ),
        (
            "POST",
            "/api/pause",
            {"action": "x", "review": {"approvals": 0}},
            "review.approvals: is not a whole number from 1 to 20",
        ),
        ("POST", "/v1/manifests", {"kind": "saga", "name": "s", "version": "1"}, "steps: "),
        ("POST", "/v1/keys", {"name": "x", "role": "root", "namespaces": ["*"]}, "role: must be one of: agent"),
    ],
)
def test_the_detail_names_the_first_error_and_its_place(
    team: Team, method: str, path: str, body: Any, said: str
) -> None:
    """Some clients show nothing else of a problem."""
    answer = team.admin.request(method, path, json=body) if body is not None else team.admin.request(method, path)
    assert answer.status_code in (400, 422)
    problem = answer.json()
    first = problem["errors"][0]
    assert problem["detail"].startswith(said), problem
    assert first["path"] in problem["detail"]
    if len(problem["errors"]) > 1:
        assert problem["detail"].endswith(f"(and {len(problem['errors']) - 1} more)")


def test_a_decision_among_others_names_its_error_too(team: Team) -> None:
    wanted = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    made = team.pause(responseSchema=wanted)
    item = {"watchId": made["watchId"], "decision": "approve", "response": {"n": "x"}}
    (result,) = team.reviewer.post("/api/pause/decisions", json={"items": [item]}).json()["results"]
    first = result["problem"]["errors"][0]
    assert first["path"] == "response.n"
    assert result["problem"]["detail"].startswith("response.n: ")


@pytest.mark.parametrize("whole", [216, 216.0])
def test_an_integer_may_be_written_as_json_schema_has_it(team: Team, whole: float) -> None:
    """`216.0` is one there; true, a text and 216.5 are none."""
    review = {"approvals": 1.0, "remind_after": [whole, 3e2], "escalate": {"after": whole, "to": {"groups": ["g"]}}}
    made = team.pause(expiresIn=whole, priority=3.0, review=review)
    lasts = datetime.fromisoformat(made["expiresAt"]) - datetime.fromisoformat(made["createdAt"])
    assert lasts.total_seconds() == 216
    assert made["priority"] == 3
    assert json.dumps(made["review"]["remind_after"]) == "[216, 300]"
    assert json.dumps(made["review"]["escalate"]["after"]) == "216"
    decided = team.reviewer.post(f"/api/pause/{made['watchId']}/approve", json={"revision": 1.0})
    assert decided.status_code in (200, 403), decided.text


@pytest.mark.parametrize("other", [True, "216", 216.5, 1e300])
@pytest.mark.parametrize("field", ["expiresIn", "priority"])
def test_what_is_no_integer_is_refused(team: Team, field: str, other: Any) -> None:
    refused(team.agent.post("/api/pause", json={"action": "x", field: other}), 422, "VALIDATION_FAILED", field)
    review = {"remind_after": [other]}
    refused(team.agent.post("/api/pause", json={"action": "x", "review": review}), 422, "VALIDATION_FAILED")
