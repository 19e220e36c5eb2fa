"""HCP Terraform as its documentation describes it: signed requests, and a receiver of results."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.adapters.receiver import Receiver, Request, reply

WITHIN = 240.0


@dataclass(frozen=True)
class HCP:
    """A run task with its HMAC key, and the runs that reach it."""

    receiver: Receiver
    url: str
    hmac_key: str
    token: str = field(default_factory=lambda: f"{uuid4().hex}.atlasv1.{uuid4().hex}")

    def body(self, **changes: Any) -> dict[str, Any]:
        """The sample of the documentation."""
        vcs = "https://github.com/hashicorp/terraform-random"
        return {
            "payload_version": 1,
            "stage": "pre_apply",
            "access_token": self.token,
            "capabilities": {"outcomes": True},
            "configuration_version_download_url": "https://app.terraform.io/api/v2/configuration-versions/cv-1/download",
            "configuration_version_id": "cv-ntv3HbhJqvFzamy7",
            "is_speculative": False,
            "organization_name": "hashicorp",
            "plan_json_api_url": "https://app.terraform.io/api/v2/plans/plan-6AFmRJW1PFJ7qbAh/json-output",
            "run_app_url": "https://app.terraform.io/app/hashicorp/my-workspace/runs/run-i3Df5to9ELvibKpQ",
            "run_created_at": "2021-09-02T14:47:13.036Z",
            "run_created_by": "username",
            "run_id": "run-i3Df5to9ELvibKpQ",
            "run_message": "Triggered via UI",
            "task_result_callback_url": self.receiver.url_as("127.0.0.1", "/api/v2/task-results/5ea8d46c/callback"),
            "task_result_enforcement_level": "mandatory",
            "task_result_id": "taskrs-2nH5dncYoXaMVQmJ",
            "vcs_branch": "main",
            "vcs_commit_url": f"{vcs}/commit/7d8fb2a2d601edebdb7a59ad2088a96673637d22",
            "vcs_pull_request_url": None,
            "vcs_repo_url": vcs,
            "workspace_app_url": "https://app.terraform.io/app/hashicorp/my-workspace",
            "workspace_id": "ws-ck4G5bb1Yei5szRh",
            "workspace_name": "my-workspace",
            "workspace_working_directory": "/terraform",
        } | changes

    def send(self, *, signature: str | None = None, **changes: Any) -> httpx.Response:
        content = json.dumps(self.body(**changes)).encode()
        if signature is None:
            signature = hmac.new(self.hmac_key.encode(), content, hashlib.sha512).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "TFC/1.0 (+https://app.terraform.io; TFC)",
            "X-TFC-Task-Signature": signature,
        }
        return httpx.post(self.url, content=content, headers=headers)

    def results(self, status: str) -> list[Request]:
        return [each for each in self.receiver.requests if attributes(each)["status"] == status]

    def result(self, status: str) -> dict[str, Any]:
        """Wait for a result with this status, and return its attributes."""
        assert wait_until(lambda: bool(self.results(status)), WITHIN), self.receiver.requests
        return attributes(self.results(status)[-1])


def attributes(request: Request) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(request.body)["data"]
    assert (request.line.split()[0], data["type"]) == ("PATCH", "task-results")
    assert request.headers["content-type"] == "application/vnd.api+json"
    found: dict[str, Any] = data["attributes"]
    return found


@pytest.fixture
def new_key(stack: Stack, namespace: str) -> Callable[..., dict[str, str]]:
    """`new_key("agent")`: the document of a new key in the test's namespace, with the key itself."""
    headers = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}

    def make(role: str) -> dict[str, str]:
        new = {"name": "run task", "role": role, "namespaces": [namespace]}
        made: dict[str, str] = httpx.post(f"{stack.url}/v1/keys", json=new, headers=headers).raise_for_status().json()
        return made

    return make


@pytest.fixture
def hcp_with(stack: Stack) -> Iterator[Callable[[dict[str, str]], HCP]]:
    """`hcp_with(key)`: HCP Terraform with a run task for this key."""
    with Receiver(reply(200)) as receiver:
        yield lambda key: HCP(
            receiver, f"{stack.url}/terraform/{key['id']}", hashlib.sha256(key["key"].encode()).hexdigest()
        )


@pytest.fixture
def hcp(new_key: Callable[..., dict[str, str]], hcp_with: Callable[[dict[str, str]], HCP]) -> HCP:
    return hcp_with(new_key("agent"))
