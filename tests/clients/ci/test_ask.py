"""`sagahold ask` says by its exit status whether a job may go on."""

import json
import signal
from collections.abc import Callable

import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import Ran, finish
from tests.clients.ci.conftest import Start
from tests.clients.desk import WITHIN, Desk, restart_web

APPROVED, REJECTED, EXPIRED, FAILED = 0, 1, 2, 3
ASK = ("ask", "--action", "Deploy a3f9b2e")
ARGUMENTS = ("--arguments", '{"version": "2.4.1"}')
GITHUB = {
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
    "GITHUB_ACTION": "__run",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_SHA": "a3f9b2e",
    "GITHUB_ACTOR": "ann",
}


def test_approved(desk: Desk, start: Start) -> None:
    asking = start(*ASK, "--context", '{"tests": 12}', "--review", '{"approvals": 1}', "--wait", "2h", **GITHUB)
    (pause,) = desk.pending()
    assert asking.stderr is not None
    line = asking.stderr.readline()
    assert line == f"sagahold: “Deploy a3f9b2e” waits for a decision: {pause['reviewUrl']}\n"
    assert pause["agentContext"] == {"action": "Deploy a3f9b2e", "context": {"tests": 12}, "arguments": None}
    run = "https://github.com/acme/shop/actions/runs/7"
    said = {"tool": "sagahold ask", "run": run, "repository": "acme/shop", "commit": "a3f9b2e", "actor": "ann"}
    assert pause["metadata"] == {"door": "ask", "client": said}
    watch_id = desk.decide("approve", comment="go")
    ran = finish(asking)
    assert (ran.code, ran.out) == (APPROVED, "")
    assert ran.err == f"sagahold: approved by test reviewer: go ({watch_id})\n"
    assert "consumedAt" in desk.all()[0]["consumption"]


@pytest.mark.parametrize("verdict", ["reject", "cancel"])
def test_rejected_or_cancelled(desk: Desk, start: Start, call: Callable[..., Ran], verdict: str) -> None:
    asking = start(*ASK)
    (pause,) = desk.pending()
    if verdict == "cancel":
        assert call("pause", "cancel", pause["watchId"]).code == 0
    else:
        desk.decide("reject", comment="not today")
    ran = finish(asking)
    assert ran.code == REJECTED
    assert {"reject": "rejected by test reviewer: not today", "cancel": "cancelled"}[verdict] in ran.err


def test_expired(call: Callable[..., Ran]) -> None:
    ran = call(*ASK, "--wait", "1s")
    assert ran.code == EXPIRED
    assert "“Deploy a3f9b2e” is expired" in ran.err


@pytest.mark.parametrize(
    ("options", "environ", "reason"),
    [
        (("--key", "short"), {"SAGAHOLD_API_KEY": "hitl_unknown"}, "UNAUTHENTICATED"),
        ((), {"SAGAHOLD_API_KEY": "secret"}, "is not a key"),
        ((), {"SAGAHOLD_URL": ""}, "no server given"),
        (("--namespace", "another"), {}, "FORBIDDEN"),
        (("--review", '{"approvals": 0}'), {}, "VALIDATION_FAILED"),
        (("--arguments", "[1]"), {}, "VALIDATION_FAILED"),
        (("--arguments", "{"), {}, "is not JSON"),
        (("--wait", "soon"), {}, "is not a duration"),
        (("--nonsense",), {}, "No such option"),
        (("--accept-edits",), {}, "needs --json"),
    ],
)
def test_failures(call: Callable[..., Ran], options: tuple[str, ...], environ: dict[str, str], reason: str) -> None:
    ran = call(*ASK, *options, **environ)
    assert (ran.code, ran.out) == (FAILED, "")
    assert reason in ran.err


def test_changed_arguments_need_a_job_that_reads_them(desk: Desk, start: Start) -> None:
    edit = {"arguments": {"version": "2.4.0"}, "revision": 1}
    asking = start(*ASK, *ARGUMENTS)
    desk.decide("approve", **edit)
    ran = finish(asking)
    assert ran.code == REJECTED
    assert "is approved with changed arguments, which this command cannot pass on" in ran.err
    assert "consumption" not in desk.all()[0]
    asking = start(*ASK, *ARGUMENTS, "--accept-edits", "--json")
    desk.decide("approve", **edit)
    ran = finish(asking)
    assert ran.code == APPROVED
    assert json.loads(ran.out)["decision"]["arguments"] == {"version": "2.4.0"}


def test_a_job_that_is_killed_and_started_again_finds_its_request(desk: Desk, start: Start) -> None:
    killed = start(*ASK, *ARGUMENTS, **GITHUB)
    desk.pending()
    killed.kill()
    finish(killed)
    desk.decide("approve")
    assert finish(start(*ASK, *ARGUMENTS, **GITHUB)).code == APPROVED
    # The approval is used; another attempt of the run asks again.
    ran = finish(start(*ASK, *ARGUMENTS, **GITHUB))
    assert ran.code == FAILED
    assert "was used before" in ran.err
    again = start(*ASK, *ARGUMENTS, **{**GITHUB, "GITHUB_RUN_ATTEMPT": "2"})
    desk.decide("reject")
    assert finish(again).code == REJECTED
    assert len(desk.all()) == 2


def test_a_key_names_one_action(desk: Desk, start: Start) -> None:
    first = start(*ASK, "--key", "deploy-7")
    desk.decide("approve")
    assert finish(first).code == APPROVED
    ran = finish(start("ask", "--action", "Drop the database", "--key", "deploy-7"))
    assert ran.code == FAILED
    assert "the key belongs to another action, “Deploy a3f9b2e”" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_request_and_the_same_key_asks_again(
    desk: Desk, start: Start, number: signal.Signals
) -> None:
    asking = start(*ASK, "--key", "deploy-7")
    desk.pending()
    assert asking.stderr is not None
    assert "waits for a decision" in asking.stderr.readline()
    asking.send_signal(number)
    assert finish(asking).code == 128 + number
    assert [pause["status"] for pause in desk.all()] == ["cancelled"]
    again = start(*ASK, "--key", "deploy-7")
    desk.decide("approve")
    assert finish(again).code == APPROVED


def test_keep_leaves_the_request_open(desk: Desk, start: Start) -> None:
    asking = start(*ASK, "--key", "deploy-7", "--keep")
    assert asking.stderr is not None
    assert "waits for a decision" in asking.stderr.readline()
    asking.send_signal(signal.SIGTERM)
    assert finish(asking).code == 128 + signal.SIGTERM
    desk.decide("approve")
    assert finish(start(*ASK, "--key", "deploy-7", "--keep")).code == APPROVED


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, start: Start) -> None:
    asking = start(*ASK)
    desk.pending()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert finish(asking).code == APPROVED


def test_two_jobs_of_one_key_go_on_once(desk: Desk, start: Start) -> None:
    asking = [start(*ASK, "--key", "deploy-7") for _ in range(2)]
    for each in asking:
        assert each.stderr is not None
        assert "waits for a decision" in each.stderr.readline()
    desk.decide("approve")
    assert sorted(finish(each).code for each in asking) == [APPROVED, FAILED]
    assert wait_until(lambda: len(desk.all()) == 1, WITHIN)
