"""The examples work as described: a rejection undoes the steps, and a retry runs the model again."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from adapters.yaml_text import read_documents
from cli.devstack.waiting import wait_until
from tests.acceptance.example import ADA, EXAMPLES, SETTLES_WITHIN, Example

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
    """The refund is not held: the step fails, and the customer gets a message."""
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
    shop = make_repository(deploy.folder)
    trace = deploy.start(version="1.2.3", branch="release-1.2.3", smoke_test=smoke_test)
    deploy.decide(trace, "approve")
    deploy.await_status(trace, ends)
    assert deploy.ledger() == did
    assert "release-1.2.3" in branches(shop)


def test_an_edited_mail_is_what_is_sent(example: Make) -> None:
    outreach = example("outreach")
    trace = outreach.start(**ADA)
    draft = outreach.held(trace)
    assert (draft["review_subject"], draft["step_id"]) == ("output", "draft")
    edited = draft["review_payload"] | {"subject": "Rolls, warm at seven"}
    assert edited != draft["review_payload"]
    outreach.decide(trace, "approve", output=edited)
    outreach.await_status(trace, "COMPLETED")
    ((tool, sent),) = outreach.entries()
    assert (tool, sent) == ("send_email", {"to": "ada@example.com", **edited})


def test_a_mail_written_anew(example: Make) -> None:
    """The model's next request contains the reviewer's guidance and its own previous answer."""
    outreach = example("outreach")
    trace = outreach.start(**ADA)
    before = outreach.held(trace)
    outreach.decide(trace, "retry", guidance="Say that we bake on Sundays")
    assert wait_until(lambda: outreach.step(trace, "draft")["attempt"] == 2, SETTLES_WITHIN)
    again = outreach.held(trace)
    assert again["watch_id"] != before["watch_id"]
    told = json.dumps(outreach.step(trace, "draft")["transcript"])
    assert "Say that we bake on Sundays" in told
    assert told.count(before["review_payload"]["subject"]) >= 2
    outreach.decide(trace, "approve")
    outreach.await_status(trace, "COMPLETED")
    assert outreach.entries() == [("send_email", {"to": "ada@example.com", **again["review_payload"]})]


def test_a_mail_that_nobody_wants(example: Make) -> None:
    outreach = example("outreach")
    trace = outreach.start(**ADA)
    outreach.decide(trace, "reject")
    saga = outreach.await_status(trace, "FAILED", "COMPENSATED", "COMPLETED")
    assert (saga["status"], saga["error_details"]["code"]) == ("FAILED", "HUMAN_REJECTED")
    assert not (outreach.folder / "ledger.db").exists()


def test_a_mail_that_promises_too_much(example: Make) -> None:
    """The same policy applies to the reviewer's text as to the model's."""
    outreach = example("outreach")
    trace = outreach.start(**ADA)
    too_much = {"subject": "Bread", "body": "All of it free of charge!"}
    refused = outreach.decided(trace, "approve", output=too_much)
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "output")
    assert outreach.held(trace)["revision"] == 1, "still held"
    assert not (outreach.folder / "ledger.db").exists()


def test_triage(example: Make) -> None:
    """On a real git repository: its log is a fact, whatever the model makes of it; the branch waits for a person."""
    triage = example("triage")
    shop = make_repository(triage.folder)
    trace = triage.start(issue="The basket is empty after signing in.")
    found = triage.held(trace)
    assert (found["review_subject"], found["review_payload"]["branch"]) == ("output", "fix-basket")
    find = triage.step(trace, "find")
    assert "Sell bread" in find["facts"]["log"]
    assert [use["name"] for use in find["tool_calls"]] == ["git_log"]
    assert "fix-basket" not in branches(shop)
    triage.decide(trace, "approve")
    saga = triage.await_status(trace, "COMPLETED")
    assert "fix-basket" in branches(shop)
    assert saga["context"]["steps"]["find"]["facts"] == find["facts"]


def test_every_example_is_what_its_command_starts() -> None:
    """Names and versions in the `run` scripts are those of the manifests."""
    for script in EXAMPLES.glob("*/run"):
        (saga,) = read_documents((script.parent / "saga.yaml").read_text())
        assert f"start saga -n {saga['name']} -v {saga['version']}" in script.read_text()


def make_repository(folder: Path) -> Path:
    """As the examples' scripts do."""
    shop = folder / "shop"
    _git("init", "--quiet", str(shop))
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    _git("-C", str(shop), *who, "commit", "--quiet", "--allow-empty", "-m", "Sell bread")
    return shop


def branches(repository: Path) -> list[str]:
    return _git("-C", str(repository), "branch", "--list", "--format", "%(refname:short)").split()


def _git(*words: str) -> str:
    git = shutil.which("git")
    assert git is not None, "the example needs git"
    return subprocess.run([git, *words], check=True, capture_output=True, text=True).stdout
