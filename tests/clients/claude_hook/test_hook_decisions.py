"""The hook asks a person on the server, and tells Claude Code the decision."""

import json
import signal
from typing import Any

import pytest

from cli.devstack import Stack
from tests.clients.claude_hook.driver import EVENT, Hook, after, event, finish, permission
from tests.clients.desk import Desk, restart_web

# The hook waits for 1 s.
BRIEFLY = ("--timeout", "26")
EDIT = {"command": "npm publish --dry-run", "description": "Publish the package"}


def outcomes(desk: Desk) -> list[Any]:
    return [pause.get("consumption", {}).get("outcome", {}).get("status") for pause in desk.all()]


def test_an_approved_call_runs_and_its_outcome_is_reported(desk: Desk, hook: Hook) -> None:
    waiting = hook.start(event())
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Bash: npm publish"
    assert pause["agentContext"]["arguments"] == EVENT["tool_input"]
    assert pause["metadata"]["door"] == "claude-hook"
    client = {"tool": "Bash", "cwd": EVENT["cwd"], "session": EVENT["session_id"], "mode": "default"}
    assert pause["metadata"]["client"] == {**client, "call": "toolu_01"}
    assert pause["approvalValidFor"] == 900
    watch_id = desk.decide("approve")
    answer = finish(waiting).answer
    reason = f"Approved by test reviewer ({watch_id})."
    allowed = {"hookEventName": "PreToolUse", "permissionDecision": "allow", "permissionDecisionReason": reason}
    assert answer == allowed
    ran = hook.run(after())
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert outcomes(desk) == ["succeeded"]
    assert list((hook.home / "state").rglob("*.json")) == []


def test_an_edited_call_runs_as_edited(desk: Desk, hook: Hook) -> None:
    waiting = hook.start(event())
    desk.decide("approve", arguments=EDIT, revision=1, comment="first dry")
    answer = finish(waiting).answer
    assert (answer["permissionDecision"], answer["updatedInput"]) == ("allow", EDIT)
    assert answer["additionalContext"] == (
        "The person who approved this call changed its input (command). It runs with the changed input. first dry"
    )
    failed = after("PostToolUseFailure", tool_input=EDIT, error="Exit code 1\nnot signed in")
    assert hook.run(failed).status == 0
    (pause,) = desk.all()
    assert pause["consumption"]["outcome"]["status"] == "failed"
    assert pause["consumption"]["outcome"]["note"] == "Exit code 1\nnot signed in"


def test_a_rejected_call_is_denied_and_an_equal_call_asks_no_person_again(desk: Desk, hook: Hook) -> None:
    waiting = hook.start(event())
    desk.decide("reject", comment="not on a Friday")
    answer = finish(waiting).answer
    assert answer["permissionDecision"] == "deny"
    assert "rejected by test reviewer: not on a Friday" in answer["permissionDecisionReason"]
    again = hook.run(event(tool_use_id="toolu_02"))
    assert "not on a Friday" in again.answer["permissionDecisionReason"]
    assert [pause["status"] for pause in desk.all()] == ["rejected"]


def test_an_expired_request_is_denied_and_an_equal_call_asks_anew(desk: Desk, hook: Hook) -> None:
    hook.rules('[[rule]]\ntool = "Bash"\ndo = "hold"\nexpires_in = 1\nreview = {approvals = 2}\n')
    answer = hook.run(event()).answer
    assert answer["permissionDecision"] == "deny"
    assert "No decision came in time" in answer["permissionDecisionReason"]
    assert hook.run(event(tool_use_id="toolu_02")).decision == "deny"
    found = [(pause["status"], pause["review"]["approvals"]) for pause in desk.all()]
    assert found == [("expired", 2)] * 2


def test_a_call_that_waits_too_long_is_denied_and_the_next_equal_call_continues_it(desk: Desk, hook: Hook) -> None:
    first = hook.run(event(), *BRIEFLY)
    (pause,) = desk.pending()
    assert first.decision == "deny"
    assert pause["reviewUrl"] in first.answer["permissionDecisionReason"]
    desk.decide("approve")
    assert hook.run(event(session_id="another", tool_use_id="toolu_02"), *BRIEFLY).decision == "deny"
    assert hook.run(event(tool_use_id="toolu_03")).decision == "allow"
    assert outcomes(desk) == [None, None]
    # The approval is used up: a third equal call needs another one.
    assert hook.run(event(tool_use_id="toolu_04"), *BRIEFLY).decision == "deny"
    assert len(desk.all()) == 3


def test_two_equal_calls_at_once_need_two_approvals(desk: Desk, hook: Hook) -> None:
    calls = [hook.start(event())]
    desk.pending()
    calls.append(hook.start(event(tool_use_id="toolu_02")))
    for _ in calls:
        desk.decide("approve")
    assert [finish(call).decision for call in calls] == ["allow", "allow"]
    assert ["consumption" in pause for pause in desk.all()] == [True, True]


def test_the_same_call_after_its_approval_was_used_is_denied(desk: Desk, hook: Hook) -> None:
    """The tool may have run: the hook was killed after it, or is installed twice."""
    waiting = hook.start(event())
    desk.decide("approve")
    assert finish(waiting).decision == "allow"
    answer = hook.run(event()).answer
    assert answer["permissionDecision"] == "deny"
    assert "installed twice" in answer["permissionDecisionReason"]


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_killed_between_request_and_decision(desk: Desk, hook: Hook, verdict: str) -> None:
    killed = hook.start(event())
    desk.pending()
    killed.kill()
    assert finish(killed).status == -signal.SIGKILL
    desk.decide(verdict)
    assert hook.run(event(tool_use_id="toolu_02")).decision == {"approve": "allow", "reject": "deny"}[verdict]
    assert len(desk.all()) == 1


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, hook: Hook) -> None:
    waiting = hook.start(event())
    desk.pending()
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert finish(waiting).decision == "allow"


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (after(tool_response={"stdout": "", "interrupted": True}), "unknown"),
        (after(tool_response={"stdout": "", "backgroundTaskId": "b1"}), "unknown"),
        (event(hook_event_name="PostToolUseFailure", error="[Request interrupted]", is_interrupt=True), "unknown"),
        (after(tool_response="text"), "succeeded"),
    ],
)
def test_outcomes(desk: Desk, hook: Hook, seen: dict[str, Any], status: str) -> None:
    waiting = hook.start(event())
    desk.decide("approve")
    assert finish(waiting).decision == "allow"
    assert hook.run(seen).status == 0
    assert outcomes(desk) == [status]


def test_a_permission_request(desk: Desk, hook: Hook) -> None:
    request = {
        name: value for name, value in event(hook_event_name="PermissionRequest").items() if name != "tool_use_id"
    }
    waiting = hook.start(request)
    desk.decide("approve", arguments=EDIT, revision=1)
    assert finish(waiting).answer["decision"] == {"behavior": "allow", "updatedInput": EDIT}
    waiting = hook.start(permission())
    desk.decide("reject", comment="no")
    answer = finish(waiting).answer["decision"]
    assert answer["behavior"] == "deny"
    assert "rejected by test reviewer: no" in answer["message"]


def test_a_permission_request_after_the_approval_of_the_same_call(desk: Desk, hook: Hook) -> None:
    """A rule `ask` of Claude Code asks although the hook allowed the call: no person decides twice."""
    waiting = hook.start(event())
    desk.decide("approve", arguments=EDIT, revision=1)
    finish(waiting)
    request = {
        name: value for name, value in event(hook_event_name="PermissionRequest").items() if name != "tool_use_id"
    }
    assert hook.run({**request, "tool_input": EDIT}).answer["decision"] == {"behavior": "allow"}
    # The posted input is not the approved one.
    assert hook.run(permission(), *BRIEFLY).answer["decision"]["behavior"] == "deny"


def test_defer_ends_a_session_and_its_resumption_finds_the_decision(desk: Desk, hook: Hook) -> None:
    call = {"message": {"content": [{"type": "tool_use", "id": "toolu_01"}]}}
    transcript = hook.home / "transcript.jsonl"
    transcript.write_text(json.dumps({"type": "user", "message": {"content": "do it"}}) + "\n" + json.dumps(call))
    hook.rules('[[rule]]\ntool = "Bash"\ndo = "hold"\ndefer = true\n')
    deferred = event(transcript_path=str(transcript))
    headless = {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}
    for _ in range(2):
        assert hook.run(deferred, **headless).answer == {"hookEventName": "PreToolUse", "permissionDecision": "defer"}
    # Claude Code ignores it with a person present, and beside other calls: then the hook waits.
    assert hook.run(deferred, *BRIEFLY).decision == "deny"
    transcript.write_text(json.dumps(call) + "\n" + json.dumps(call).replace("toolu_01", "toolu_02"))
    assert hook.run(deferred, *BRIEFLY, **headless).decision == "deny"
    desk.decide("approve", arguments=EDIT, revision=1)
    answer = hook.run(deferred, **headless).answer
    assert (answer["permissionDecision"], answer["updatedInput"]) == ("allow", EDIT)
    assert len(desk.all()) == 1


def test_defer_waits_until_the_transcript_shows_the_call(desk: Desk, hook: Hook) -> None:
    """Claude Code writes it at the same time. Its path may be long."""
    call = json.dumps({"message": {"content": [{"type": "tool_use", "id": "toolu_01"}]}})
    folder = hook.home / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    transcript = folder / "transcript.jsonl"
    transcript.write_text(call[:30])
    deferred = event(transcript_path=str(transcript))
    waiting = hook.start(deferred, "--defer", CLAUDE_CODE_ENTRYPOINT="sdk-cli")
    desk.pending()
    transcript.write_text(call)
    assert finish(waiting).decision == "defer"
