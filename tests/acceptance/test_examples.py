"""The examples' manifests, as they are but for where they keep things, on the tool servers that they name."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.yaml_text import read_documents
from cli.stack.waiting import wait_until
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
SETTLES_WITHIN = 60.0


class Example:
    """One of them, deployed into the test's namespace, with its ledger and its repository in `folder`."""

    def __init__(self, name: str, folder: Path, namespace: str, client_for: Callable[..., httpx.Client]) -> None:
        self.name, self.folder = name, folder
        self.agent, self.reviewer, admin = client_for("agent"), client_for("reviewer"), client_for("admin")
        policies = {f"policies/{path.name}": path.read_text() for path in (EXAMPLES / name / "policies").glob("*.cel")}
        for file in ("worker.yaml", "saga.yaml"):
            text = (EXAMPLES / name / file).read_text().replace(".sagahold", str(folder))
            (manifest,) = read_documents(text)
            bundle = {"manifest": {**manifest, "namespace": namespace}, "artifacts": policies}
            admin.post("/v1/manifests", json=bundle).raise_for_status()

    def start(self, **given: Any) -> str:
        answer = self.agent.post("/v1/sagas/start", json={"name": self.name, "version": "1", "input": given})
        return str(answer.raise_for_status().json()["trace_id"])

    def await_status(self, trace: str, *wanted: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.agent.get(f"/v1/sagas/{trace}").raise_for_status().json())
            return found["status"] in wanted

        assert wait_until(there, SETTLES_WITHIN), f"{found['status']}: {found['steps']}"
        return found

    def decide(self, trace: str, verb: str) -> None:
        self.await_status(trace, "AWAITING_HUMAN")
        (held,) = self.reviewer.get("/v1/sagas/pending-review", params={"trace_id": trace}).json()["items"]
        self.reviewer.post(f"/v1/sagas/{trace}/steps/{held['step_span_id']}/{verb}", json={}).raise_for_status()

    def ledger(self) -> list[str]:
        connection = sqlite3.connect(self.folder / "ledger.db")
        try:
            return [tool for (tool,) in connection.execute("SELECT tool FROM entries ORDER BY id")]
        finally:
            connection.close()


Make = Callable[[str], Example]


@pytest.fixture
def example(tmp_path: Path, namespace: str, client_for: Callable[..., httpx.Client]) -> Make:
    return lambda name: Example(name, tmp_path, namespace, client_for)


def test_a_refund_below_the_limit_asks_nobody(example: Make) -> None:
    refund = example("refund")
    refund.await_status(refund.start(customer="ada@example.com", amount=40), "COMPLETED")
    assert refund.ledger() == ["send_email", "refund"]


@pytest.mark.parametrize(
    ("verb", "ends", "did"),
    [("approve", "COMPLETED", ["send_email", "refund"]), ("reject", "COMPENSATED", ["send_email", "withdraw_email"])],
)
def test_a_refund_over_the_limit(example: Make, verb: str, ends: str, did: list[str]) -> None:
    refund = example("refund")
    trace = refund.start(customer="ada@example.com", amount=250)
    refund.decide(trace, verb)
    refund.await_status(trace, ends)
    assert refund.ledger() == did


def test_a_refund_that_no_policy_allows(example: Make) -> None:
    """Is not held: the step fails, and the customer is told so."""
    refund = example("refund")
    saga = refund.await_status(refund.start(customer="ada@example.com", amount=20_000), "COMPENSATED", "AWAITING_HUMAN")
    assert saga["error_details"]["code"] == "POLICY_COMMIT_DENIED"
    assert refund.ledger() == ["send_email", "withdraw_email"]


@pytest.mark.parametrize(
    ("smoke_test", "ends", "did"),
    [("green", "COMPLETED", ["deploy", "send_email"]), ("red", "COMPENSATED", ["deploy", "rollback"])],
)
def test_a_deploy(example: Make, smoke_test: str, ends: str, did: list[str]) -> None:
    """On a real git repository, by the public tool server for git."""
    deploy = example("deploy")
    shop = deploy.folder / "shop"
    _git("init", "--quiet", str(shop))
    _git(
        "-C", str(shop), *("-c", "user.name=t", "-c", "user.email=t@t"), "commit", "--quiet", "--allow-empty", "-m", "1"
    )
    trace = deploy.start(version="1.2.3", branch="release-1.2.3", smoke_test=smoke_test)
    deploy.decide(trace, "approve")
    deploy.await_status(trace, ends)
    assert deploy.ledger() == did
    assert "release-1.2.3" in _git("-C", str(shop), "branch", "--list")


def test_every_example_is_what_its_command_starts() -> None:
    """Names and versions in the `run` scripts are those of the manifests."""
    for script in EXAMPLES.glob("*/run"):
        (saga,) = read_documents((script.parent / "saga.yaml").read_text())
        assert f"start saga -n {saga['name']} -v {saga['version']}" in script.read_text()


def _git(*words: str) -> str:
    git = shutil.which("git")
    assert git is not None, "the example needs git"
    return subprocess.run([git, *words], check=True, capture_output=True, text=True).stdout
