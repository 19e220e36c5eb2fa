"""Idempotency-Key: on every route that makes something, the same request is carried out once."""

import json
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Team, refused

CREATES = {
    "/api/pause": ("agent", {"action": "Deploy"}, None),
    "/v1/keys": ("admin", {"name": "x", "role": "agent"}, "key"),
    "/v1/webhooks/endpoints": ("admin", {"url": "http://127.0.0.1:9/"}, "secret"),
}


@pytest.mark.parametrize("path", CREATES)
def test_a_request_that_is_repeated_is_carried_out_once(path: str, team: Team) -> None:
    """The stored answer comes back, marked as such; a secret is not shown a second time."""
    role, body, secret = CREATES[path]
    body = body if secret is None else body | {"namespaces": [team.namespace]}
    client, headers = getattr(team, role), {"Idempotency-Key": f"first-{path}"}
    first = client.post(path, json=body, headers=headers)
    again = client.post(
        path, content=json.dumps(body, indent=3), headers=headers | {"Content-Type": "application/json"}
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    shown = first.json()
    assert again.json() == (shown if secret is None else shown | {secret: None})
    assert secret is None or shown[secret]
    other = client.post(path, json=body | {next(iter(body)): "other"}, headers=headers)
    if path != "/v1/webhooks/endpoints":
        refused(other, 422, "IDEMPOTENCY_KEY_REUSED")
    elsewhere = getattr(team, "agent" if role == "admin" else "admin")
    used = elsewhere.post("/api/pause", json={"action": "Something else"}, headers=headers)
    refused(used, 422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("key", ["short", "x" * 129, "with blank", "ünïcode-key", "tab\tinside", ""])
@pytest.mark.parametrize("path", CREATES)
def test_an_idempotency_key_that_is_none(path: str, key: str, team: Team) -> None:
    role, body, secret = CREATES[path]
    body = body if secret is None else body | {"namespaces": [team.namespace]}
    answer = getattr(team, role).post(path, json=body, headers=[(b"Idempotency-Key", key.encode())])
    refused(answer, 400, "MALFORMED_IDEMPOTENCY_KEY")


def test_the_same_key_in_another_namespace_is_another_key(team: Team, stranger: httpx.Client) -> None:
    headers = {"Idempotency-Key": "shared-by-two"}
    ours = team.agent.post("/api/pause", json={"action": "Deploy"}, headers=headers)
    theirs = stranger.post("/api/pause", json={"action": "Deploy"}, headers=headers)
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["watchId"] != theirs.json()["watchId"]


def test_a_refused_request_does_not_use_its_key_up(team: Team) -> None:
    headers = {"Idempotency-Key": "corrected-later"}
    refused(team.agent.post("/api/pause", json={"action": ""}, headers=headers), 422, "VALIDATION_FAILED", "action")
    assert team.agent.post("/api/pause", json={"action": "Deploy"}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "again",
    [
        '{"action":"pay","context":{"b":1.0,"n":1.5,"z":0},"priority":3}',
        '{"action":"pay","context":{"b":1e0,"n":15e-1,"z":-0},"priority":3}',
        '{"priority":3,"context":{"z":-0.0,"n":1.50,"b":10E-1},"action":"pay"}',
        '{ "action" : "p\\u0061y",\n"context":{"b":100e-2,"n":1.5,"z":0e9},"priority":3}',
    ],
)
def test_one_number_has_many_spellings(again: str, team: Team) -> None:
    """As the digest of the arguments has it (RFC 8785)."""
    first = '{"action":"pay","context":{"b":1,"n":1.5,"z":0},"priority":3}'
    headers = {"Idempotency-Key": f"numbers-{uuid4().hex}", "Content-Type": "application/json"}
    made = team.agent.post("/api/pause", content=first, headers=headers)
    repeated = team.agent.post("/api/pause", content=again, headers=headers)
    assert (made.status_code, repeated.status_code) == (201, 200)
    assert repeated.json()["watchId"] == made.json()["watchId"]
    for other in (
        first.replace('"b":1', '"b":1.1'),
        first.replace('"b":1', '"b":"1"'),
        first.replace('"b":1', '"b":true'),
    ):
        refused(team.agent.post("/api/pause", content=other, headers=headers), 422, "IDEMPOTENCY_KEY_REUSED")
