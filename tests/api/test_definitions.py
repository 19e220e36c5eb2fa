"""Manifests over HTTP: JSON, YAML and bundles, field errors with paths, and versions that do not change."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli.devstack import Stack
from tests.api.conftest import Team, refused

Clients = Callable[..., httpx.Client]

WORKER = """
kind: worker
name: ledger
namespace: {namespace}
version: "1"
tool_sources:
  - {{name: ledger, transport: stdio, command: python, args: [-m, ledger]}}
"""
SAGA = """
kind: saga
name: refund
namespace: {namespace}
version: "1"
steps:
  - id: pay
    kind: commit
    worker: ledger
    worker_version: "1"
    with: {{amount: {{from: $.input.amount}}}}
    tools: {{allow: [refund]}}
    policy: policies/limit.cel
    hitl: true
    compensation: undo/pay.yaml
"""
FILES = {
    "policies/limit.cel": "arguments.amount < 100",
    "undo/pay.yaml": "worker: ledger\nworker_version: '1'\ntools: [cancel]\n"
    "with: {id: {from: $.steps.pay.output.data.id}}",
}


def _yaml(client: httpx.Client, text: str, query: str = "") -> httpx.Response:
    return client.post(f"/v1/manifests{query}", content=text, headers={"Content-Type": "application/yaml"})


@pytest.fixture
def admin(client_for: Clients, namespace: str) -> httpx.Client:
    """With the worker deployed."""
    client = client_for("admin")
    assert _yaml(client, WORKER.format(namespace=namespace)).status_code == 200
    return client


def _deploy(client: httpx.Client, namespace: str, query: str = "", **files: str) -> httpx.Response:
    body = {"manifest": SAGA.format(namespace=namespace), "artifacts": FILES | files}
    return client.post(f"/v1/manifests{query}", json=body)


def test_a_bundle_is_frozen_and_listed(admin: httpx.Client, namespace: str) -> None:
    made = _deploy(admin, namespace)
    assert made.status_code == 200, made.text
    assert made.json()["message"] == "saga refund 1 is deployed"
    id_ = made.json()["id"]
    (listed,) = admin.get("/v1/definitions/sagas").json()["items"]
    assert listed["id"] == id_
    assert (listed["namespace"], listed["name"], listed["version"]) == (namespace, "refund", "1")
    assert listed["is_active"] is True
    whole = admin.get(f"/v1/definitions/{id_}").json()
    assert admin.get(f"/v1/definitions/sagas/{id_}").json() == whole
    refused(admin.get(f"/v1/definitions/workers/{id_}"), 404, "NOT_FOUND")
    (worker,) = admin.get("/v1/definitions/workers").json()["items"]
    assert admin.get(f"/v1/definitions/workers/{worker['id']}").json()["content"]["kind"] == "worker"
    (step,) = whole["content"]["steps"]
    assert step["policy"] == {"name": "policies/limit.cel", "cel": "arguments.amount < 100"}
    assert step["compensation"]["tools"] == ["cancel"]


def test_the_same_again_changes_nothing_and_other_content_needs_a_word(admin: httpx.Client, namespace: str) -> None:
    first = _deploy(admin, namespace).json()["id"]
    again = _deploy(admin, namespace).json()
    assert again == {"id": first, "message": "saga refund 1 is already deployed with the same content"}
    other = {"policies/limit.cel": "arguments.amount < 50"}
    refused(_deploy(admin, namespace, **other), 409, "VERSION_EXISTS")
    second = _deploy(admin, namespace, "?replace=true", **other)
    assert "replaced" in second.json()["message"]
    by_activity = {item["id"]: item["is_active"] for item in admin.get("/v1/definitions/sagas").json()["items"]}
    assert by_activity == {first: False, second.json()["id"]: True}
    (active,) = admin.get("/v1/definitions/sagas?is_active=true&name=refund").json()["items"]
    assert active["id"] == second.json()["id"]
    # The replaced definition stays readable.
    (step,) = admin.get(f"/v1/definitions/{first}").json()["content"]["steps"]
    assert step["policy"]["cel"] == "arguments.amount < 100"


def test_every_error_at_once(admin: httpx.Client, namespace: str) -> None:
    broken: dict[str, Any] = {
        "kind": "saga",
        "name": "x",
        "version": 1,
        "namespace": namespace,
        "colour": "red",
        "steps": [
            {"id": "a", "kind": "commit", "worker": "nobody", "worker_version": "1", "with": {"b": {"from": "x"}}},
            {"id": "a", "kind": "reason", "worker": "ledger", "worker_version": "1", "prompt": "prompts/none.j2"},
        ],
    }
    problem = refused(admin.post("/v1/manifests", json={"manifest": broken}), 400, "INVALID_MANIFEST")
    places = {field_error["path"]: field_error["message"] for field_error in problem["errors"]}
    assert places.keys() == {
        "version",
        "colour",
        "steps[0].with.b.from",
        "steps[0].tools.allow",
        "steps[1].id",
        "steps[1].prompt",
    }
    assert places["steps[0].with.b.from"].startswith("is not a JSONPath")
    assert "prompts/none.j2 was not sent with the manifest" in places["steps[1].prompt"]


def test_a_saga_needs_its_workers(client_for: Clients, namespace: str) -> None:
    problem = refused(_deploy(client_for("admin"), namespace), 400, "INVALID_MANIFEST")
    assert [field_error["path"] for field_error in problem["errors"]] == [
        "steps[0].worker",
        "steps[0].compensation.worker",
    ]


@pytest.mark.parametrize("text", ["a: &x 1", "a: [", "", "a: 1\n---\nb: 2", "x"])
def test_what_is_no_manifest_in_yaml(team: Team, text: str) -> None:
    refused(_yaml(team.admin, text), 400, "INVALID_MANIFEST", "")


@pytest.mark.parametrize("body", [[], "x", 1, {}, {"manifest": []}, {"manifest": {}, "artifacts": {"a": 1}}])
def test_what_is_no_manifest_in_json(team: Team, body: object) -> None:
    refused(team.admin.post("/v1/manifests", json=body), 400, "INVALID_MANIFEST")


def test_other_types_of_bodies_are_refused(team: Team) -> None:
    answer = team.admin.post("/v1/manifests", content="kind: saga", headers={"Content-Type": "text/plain"})
    refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    answer = team.admin.post("/v1/manifests", content=b"\xff", headers={"Content-Type": "text/yaml"})
    refused(answer, 400, "INVALID_MANIFEST")
    answer = team.admin.post("/v1/manifests?replace=maybe", json={})
    refused(answer, 422, "VALIDATION_FAILED", "replace")


def test_an_admin_deploys_only_in_its_namespaces(admin: httpx.Client, stranger: httpx.Client, namespace: str) -> None:
    refused(_deploy(stranger, namespace), 403, "FORBIDDEN")
    id_ = _deploy(admin, namespace).json()["id"]
    refused(stranger.get(f"/v1/definitions/{id_}"), 404, "NOT_FOUND")
    assert stranger.get("/v1/definitions/workers").json()["items"] == []


def test_everyone_reads_what_is_deployed(admin: httpx.Client, client_for: Clients, namespace: str) -> None:
    for role in ("agent", "reviewer", "operator"):
        (worker,) = client_for(role).get(f"/v1/definitions/workers?namespace={namespace}").json()["items"]
        assert worker["kind"] == "worker"


def test_ambiguous_json_is_refused(team: Team) -> None:
    text = '{"kind": "saga", "kind": "worker"}'
    answer = team.admin.post("/v1/manifests", content=text, headers={"Content-Type": "application/json"})
    refused(answer, 422, "VALIDATION_FAILED", "kind")
    assert json.loads(text) == {"kind": "worker"}


def test_an_admin_of_one_namespace_gets_nothing_of_the_machine(team: Team) -> None:
    shell: dict[str, Any] = {"name": "sh", "transport": "stdio", "command": "sh", "args": ["-c", "env"]}
    shell["env"] = {"D": "${ENV:DATABASE_URL}"}
    document = {"kind": "worker", "name": "w", "namespace": team.namespace, "version": "1", "tool_sources": [shell]}
    problem = refused(
        team.admin.post("/v1/manifests", json=document), 400, "INVALID_MANIFEST", "tool_sources[0].command"
    )
    assert [field_error["path"] for field_error in problem["errors"]] == [
        "tool_sources[0].command",
        "tool_sources[0].env.D",
    ]


def test_a_program_of_the_same_user_finds_no_secret_of_ours(stack: Stack) -> None:
    for kind in ("worker", "beat"):
        for pid in stack.pids(kind):
            assert b"DATABASE_URL" not in Path(f"/proc/{pid}/environ").read_bytes(), kind
    served = [child.pid for pid in stack.pids("web") for child in psutil.Process(pid).children(recursive=True)]
    assert any(b"DATABASE_URL" not in Path(f"/proc/{pid}/environ").read_bytes() for pid in served)
