"""Fixtures of the tests over HTTP: one client for each role, in a namespace of the test file."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli.devstack import Stack
from tests.sagas import Sagas, deploy, manifests


@dataclass(frozen=True)
class Team:
    namespace: str
    agent: httpx.Client
    reviewer: httpx.Client
    operator: httpx.Client
    admin: httpx.Client

    def lower_floor(self, review: dict[str, Any] | None = None) -> None:
        """The namespace allows what weakens a review."""
        allowed = ["expire", "reject", "approve", "escalate"]
        body = {"review": review, "allowed_on_timeout": allowed}
        assert self.admin.put(f"/v1/namespaces/{self.namespace}", json=body).status_code == 200

    def pause(self, **fields: Any) -> dict[str, Any]:
        """A new pause of the agent's."""
        made = self.agent.post("/api/pause", json={"action": "Deploy to production (v2.4.1)"} | fields)
        assert made.status_code == 201, made.text
        document: dict[str, Any] = made.json()
        return document


@pytest.fixture(scope="module")
def team(stack: Stack) -> Iterator[Team]:
    """Share one team per test file, because creating keys would take most of a test's time."""
    admin = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
    namespace = f"team-{uuid4().hex[:12]}"
    clients = {}
    for role in ("agent", "reviewer", "operator", "admin"):
        new = {"name": f"test {role}", "role": role, "namespaces": [namespace]}
        key = httpx.post(f"{stack.url}/v1/keys", json=new, headers=admin).json()["key"]
        clients[role] = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, timeout=70)
    yield Team(namespace, **clients)
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def sagas(team: Team) -> Sagas:
    """With everything deployed that they start."""
    for document in manifests(team.namespace):
        deploy(team.admin, document)
    return Sagas(team.agent, team.reviewer)


def refused(answer: httpx.Response, status: int, code: str, path: str | None = None) -> dict[str, Any]:
    """Check and return the problem document; `path` is the path of its first field error."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert "Traceback" not in answer.text
    if path is not None:
        assert problem["errors"][0]["path"] == path, problem
    return problem


def form_token(page: str) -> str:
    """Return the token in the page's forms, which guards against forged forms."""
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', page)
    assert found is not None, page
    return found[1]


@pytest.fixture(scope="module")
def elsewhere() -> str:
    """Another namespace, and a file's own one: what other files leave in theirs is not there."""
    return f"elsewhere-{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def stranger(stack: Stack, elsewhere: str) -> httpx.Client:
    """An admin of another namespace: as much as one may be, elsewhere."""
    admin = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
    new = {"name": "stranger", "role": "admin", "namespaces": [elsewhere]}
    key = httpx.post(f"{stack.url}/v1/keys", json=new, headers=admin).json()["key"]
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"})


def until(happens: Callable[[], object], seconds: float = 90) -> None:
    """Wait for something that takes a moment: a worker, a log file, a clock."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def log_until_now(stack: Stack) -> str:
    """Wait for the web process's log: the line of a request follows its response, in the order of the responses."""
    last = f"/{uuid4().hex}"
    httpx.get(stack.url + last)
    until(lambda: last in stack.log("web").read_text())
    return stack.log("web").read_text()
