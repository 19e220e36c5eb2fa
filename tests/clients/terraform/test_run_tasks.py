"""Run tasks of HCP Terraform against the whole stack."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from services.kernel.unit_of_work import Database
from tests.acceptance.commands import SAGAHOLD
from tests.browser.people import add_person
from tests.clients.clock import expire
from tests.clients.desk import Desk, restart_web
from tests.clients.terraform.conftest import HCP, WITHIN

pytestmark = pytest.mark.timeout(600)
MANUAL = Path(__file__).parents[3] / "docs/doors/terraform.md"
NewKey = Callable[..., dict[str, str]]


def test_a_run_is_held_once_and_passes(
    stack: Stack, desk: Desk, hcp: HCP, stack_database: Database, namespace: str
) -> None:
    """The token reaches only its receiver."""
    first = hcp.send()
    assert first.status_code == 200, first.text
    assert hcp.result("running") == {
        "status": "running",
        "message": "Waiting for a decision.",
        "url": first.json()["reviewUrl"],
    }
    assert hcp.send().json() == first.json()
    (pause,) = desk.all()
    assert pause["watchId"] == first.json()["watchId"]
    assert pause["agentContext"]["action"] == "Terraform apply of workspace my-workspace"
    assert pause["agentContext"]["arguments"] == {
        "organization": "hashicorp",
        "workspace": "my-workspace",
        "workspace_id": "ws-ck4G5bb1Yei5szRh",
        "run_id": "run-i3Df5to9ELvibKpQ",
        "stage": "pre_apply",
        "is_speculative": False,
    }
    context = pause["agentContext"]["context"]
    assert (context["message"], context["started_by"], context["branch"]) == ("Triggered via UI", "username", "main")
    assert context["run_url"].endswith("/runs/run-i3Df5to9ELvibKpQ")
    assert pause["metadata"]["door"] == "terraform"
    assert pause["metadata"]["client"] == {
        "workspace": "my-workspace",
        "run": "run-i3Df5to9ELvibKpQ",
        "user": "username",
    }
    desk.decide("approve", comment="Fine.")
    assert hcp.result("passed") == {
        "status": "passed",
        "message": "Approved by test reviewer: Fine.",
        "url": first.json()["reviewUrl"],
    }
    assert "consumedAt" in desk.all()[0]["consumption"]
    assert {each.headers["authorization"] for each in hcp.receiver.requests} == {f"Bearer {hcp.token}"}
    assert hcp.send().json() == first.json(), "also after the decision"
    assert len(hcp.results("passed")) == 1
    person = add_person(stack_database, "admin", namespaces=["*"])
    page = httpx.get(first.json()["reviewUrl"], cookies={SESSION: person.token})
    assert "my-workspace" in page.text
    admin = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.credentials['admin_key']}"})
    shown = [page.text, desk.http.get(f"/api/pause/{pause['watchId']}").text]
    for path in ("/v1/webhooks/deliveries", "/v1/audit-events"):
        shown.append(admin.get(path, params={"namespace": namespace}).raise_for_status().text)
        assert namespace in shown[-1], path
    shown += [file.read_text(errors="replace") for file in stack.data.logs.iterdir()]
    assert not any(hcp.token in text for text in shown)


def test_other_decisions_fail_the_task(desk: Desk, hcp: HCP, stack_database: Database) -> None:
    def hold(number: int, **changes: Any) -> str:
        return str(hcp.send(task_result_id=f"taskrs-{number}", **changes).raise_for_status().json()["watchId"])

    def failed(count: int) -> str:
        assert wait_until(lambda: len(hcp.results("failed")) == count, WITHIN)
        return str(hcp.result("failed")["message"])

    hold(1)
    desk.decide("reject", comment="Not on a Friday.")
    assert failed(1) == "Rejected by test reviewer: Not on a Friday."
    expire(stack_database, hold(2, stage="post_plan", is_speculative=True))
    assert failed(2) == "The time ran out without a decision."
    watch_id = hold(3, stage="pre_plan")
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Terraform plan of workspace my-workspace"
    changed = pause["agentContext"]["arguments"] | {"workspace": "other"}
    edit = {"arguments": changed, "revision": 1}
    refused = desk.http.post(f"/api/pause/{watch_id}/approve", json=edit)
    assert (refused.status_code, desk.pending()[0]["status"]) == (422, "pending"), "a run cannot be changed"
    assert hcp.results("passed") == []


def test_decided_while_the_web_server_restarts(stack: Stack, desk: Desk, hcp: HCP) -> None:
    hcp.send().raise_for_status()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    hcp.result("passed")


def test_the_check_of_a_new_run_task(desk: Desk, hcp: HCP) -> None:
    """It has no run."""
    assert hcp.send(access_token="test-token", stage="test", run_id=None).status_code == 200
    assert hcp.send(access_token="test-token", signature="0" * 128).status_code == 401
    assert desk.all() == []


def test_only_a_signature_with_an_agents_key_holds_a_run(
    stack: Stack, desk: Desk, hcp: HCP, new_key: NewKey, hcp_with: Callable[[dict[str, str]], HCP]
) -> None:
    good = hcp.send(access_token="test-token").request.headers["X-TFC-Task-Signature"]
    for signature in ("", "0" * 128, good):
        answer = hcp.send(signature=signature)
        assert (answer.status_code, answer.json()["errors"][0]["title"]) == (401, "UNAUTHENTICATED")
    other = hcp_with(new_key("agent"))
    for url in (other.url, hcp.url[:-1], f"{stack.url}/terraform/nothing", f"{stack.url}/terraform/%00"):
        assert HCP(hcp.receiver, url, hcp.hmac_key).send().status_code == 401, url
    assert hcp_with(new_key("reviewer")).send().status_code == 403
    bearer = {"Authorization": f"Bearer {desk.agent_key}"}
    assert httpx.post(hcp.url, json=hcp.body(), headers=bearer).status_code == 401
    headers = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
    key_id = hcp.url.rpartition("/")[2]
    rotated = httpx.post(f"{stack.url}/v1/keys/{key_id}/rotate", json={}, headers=headers).raise_for_status().json()
    new = hcp_with(rotated)
    for known in (hcp, new):
        assert known.send(access_token="test-token").status_code == 200, "both secrets of a rotated key are valid"
    httpx.post(f"{stack.url}/v1/keys/{key_id}/revoke", headers=headers).raise_for_status()
    assert new.send().status_code == 401
    assert desk.all() == []


# A request that nothing is held for, and the start of its error.
UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"payload_version": 2}, "payload_version: must be 1"),
    ({"payload_version": True}, "payload_version: must be 1"),
    ({"payload_version": 2, "access_token": "test-token"}, "payload_version: must be 1"),
    ({"stage": "post_apply"}, "stage: must be pre_plan, post_plan, pre_apply"),
    ({"stage": None}, "stage: must be"),
    ({"access_token": ""}, "access_token: must be"),
    ({"access_token": "a\r\nb"}, "access_token: must be"),
    ({"is_speculative": None}, "is_speculative: must be"),
    ({"run_id": None}, "run_id"),
    ({"task_result_id": "x" * 201}, "task_result_id"),
    ({"task_result_callback_url": "http://169.254.169.254/"}, "task_result_callback_url"),
]


def test_an_unusable_request_holds_nothing(desk: Desk, hcp: HCP) -> None:
    for changes, message in UNUSABLE:
        answer = hcp.send(**changes)
        assert answer.status_code == 422, changes
        assert answer.json()["errors"][0]["detail"].startswith(message), answer.text
        assert hcp.token not in answer.text
    assert desk.all() == []
    hcp.send().raise_for_status()
    other = hcp.send(run_id="run-other")
    assert (other.status_code, len(desk.all())) == (409, 1), "the result's id is that of another run"


def test_the_quick_start(stack: Stack, desk: Desk, hcp: HCP, new_key: NewKey, tmp_path: Path) -> None:
    """It runs as printed in docs/doors/terraform.md."""
    make, sample = re.findall(r"^```sh\n(.*?)^```", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    create, *settings = make.splitlines()
    key = new_key("agent")
    path = {"PATH": f"{SAGAHOLD.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    as_admin = path | {"SAGAHOLD_URL": stack.url, "SAGAHOLD_API_KEY": stack.credentials["admin_key"]}

    def run(script: str, environ: dict[str, str]) -> str:
        ran = subprocess.run(["sh", "-euc", script], env=environ, cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout.decode()

    assert re.search(r"hitl_\S+[\s\S]*key_[0-9a-f]{32}", run(create, as_admin))
    assert [line.partition("=")[0] for line in settings] == ["export KEY", "export SAGAHOLD_URL"]
    values = {"KEY": key["key"], "KEY_ID": key["id"], "SAGAHOLD_URL": stack.url, "CALLBACK_URL": hcp.receiver.url}
    held = json.loads(run(sample, path | values).splitlines()[-1])
    assert desk.decide("approve") == held["watchId"]
    assert hcp.result("passed")["url"] == held["reviewUrl"]
