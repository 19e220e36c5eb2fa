"""`sagahold pause …` against a running stack, for people and for programs."""

import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from cli.views.output import page
from tests.acceptance.commands import DONE, END_SECONDS, REFUSED, SAGAHOLD, WRONG, Ran, finish, start
from tests.adapters.receiver import Receiver, reply

Call = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("environ")


class TestPause:
    def test_everything_that_was_said_arrives(self, call: Call, namespace: str, tmp_path: Path) -> None:
        (tmp_path / "arguments.json").write_text('{"version": "2.4.1"}')
        ran = call(
            *("pause", "create", "Deploy", "--context", '{"commit": "a3f9b2e"}', "--expires-in", "2h"),
            *("--arguments", f"@{tmp_path}/arguments.json", "--on-timeout", "reject", "--tag", "prod", "--tag", "db"),
            *("--namespace", namespace, "--priority", "7", "--callback-url", "http://127.0.0.1:9/x", "--json"),
        )
        made = ran.document
        context = {"action": "Deploy", "context": {"commit": "a3f9b2e"}, "arguments": {"version": "2.4.1"}}
        assert made["agentContext"] == context
        assert (made["onTimeout"], made["tags"], made["priority"]) == ("reject", ["prod", "db"], 7)
        assert (made["namespace"], made["callbackUrl"]) == (namespace, "http://127.0.0.1:9/x")
        assert made["expiresAt"][:10] >= made["createdAt"][:10]

    def test_never_means_never(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused("x", "--expires-in", "never")
        assert call("pause", "get", watch_id, "--json").document["expiresAt"] is None
        assert "never expires" in call("pause", "get", watch_id).out

    def test_json_is_just_what_the_server_answers(self, call: Call, stack: Stack, paused: Callable[..., str]) -> None:
        watch_id = paused("é \u202e \x1b", "--context", '{"a": [1, {"b": null}]}')
        headers = {"Authorization": f"Bearer {stack.credentials['reviewer_key']}"}
        answer = httpx.get(f"{stack.url}/api/pause/{watch_id}", headers=headers)
        assert call("pause", "get", watch_id, "--json").out == f"{answer.text}\n"

    def test_said_again_with_its_idempotency_key_it_is_the_same(self, paused: Callable[..., str]) -> None:
        once = ("--idempotency-key", uuid4().hex)
        assert paused("x", *once) == paused("x", *once)

    def test_the_view_has_all_that_a_reviewer_needs(self, call: Call, paused: Callable[..., str]) -> None:
        arguments = ("--arguments", '{"version": "2.4.1", "hosts": ["a", "b"]}')
        watch_id = paused("Deploy to production", "--context", '{"env": "prod", "checks": {"tests": 12}}', *arguments)
        shown = call("pause", "get", watch_id).out
        assert re.search("expires in (23 h 59 min|1 d)", shown)
        for said in ("Deploy to production", "pending", "env: prod", "tests: 12"):
            assert said in shown
        assert '"hosts": [' in shown
        assert f"sagahold pause approve {watch_id}" in shown
        call("pause", "approve", watch_id, "--comment", "fine", "--arguments", '{"version": "2.4.2"}')
        shown = call("pause", "get", watch_id).out
        assert re.search(r"approved by first reviewer, .*: fine", shown)
        assert '"version": "2.4.2"' in shown
        assert "pause approve" not in shown

    def test_what_a_review_still_waits_for(self, call: Call, paused: Callable[..., str]) -> None:
        policy = '{"stages": [{"name": "peers", "approvals": 2}, {"name": "last"}]}'
        watch_id = paused("Deploy", "--review", policy)
        assert "0 of 2 approvals (stage 1 of 2: peers)" in call("pause", "get", watch_id).out
        assert "claimed by first reviewer" in call("pause", "claim", watch_id).out
        assert "claimed" not in call("pause", "unclaim", watch_id).out
        assert "1 of 2 approvals" in call("pause", "approve", watch_id, "--comment", "fine").out
        shown = call("pause", "get", watch_id).out
        assert "approved by first reviewer" in shown
        assert "1 of 2 approvals" in shown

    def test_nothing_that_an_agent_wrote_acts_on_the_terminal(self, call: Call, paused: Callable[..., str]) -> None:
        evil = "x\x1b[2J\x07\u202e\r"
        watch_id = paused(evil, "--context", json.dumps({evil: evil}), "--arguments", json.dumps({evil: evil}))
        for shown in (call("pause", "get", watch_id).out, call("pause", "list", "--limit", "1").out):
            assert not set("\x1b\x07\u202e\r") & set(shown)
            assert r"x\x1b[2J" in shown

    def test_a_decision_stands(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused()
        assert call("pause", "reject", watch_id, "--comment", "not today").code == DONE
        assert call("pause", "reject", watch_id).code == DONE
        late = call("pause", "approve", watch_id)
        assert late.code == REFUSED
        said = rf"ALREADY_RESOLVED: {watch_id} rejected by first reviewer, .*: not today \(this decision is final\)"
        assert re.fullmatch(said, late.error)
        assert call("pause", "approve", watch_id, "--json").document["current"]["status"] == "rejected"

    def test_a_decision_on_an_old_revision_is_refused(self, call: Call, paused: Callable[..., str]) -> None:
        assert call("pause", "approve", paused(), "--revision", "2").error.startswith("REVISION_CHANGED: ")

    def test_a_required_response(self, call: Call, client_for: Callable[..., httpx.Client], namespace: str) -> None:
        draft = {"action": "x", "responseSchema": {"type": "object", "required": ["ticket"]}}
        watch_id = client_for("agent").post("/api/pause", json=draft).json()["watchId"]
        assert '"required": [' in call("pause", "get", watch_id).out
        assert call("pause", "approve", watch_id).error.startswith("VALIDATION_FAILED: response: is required")
        assert call("pause", "approve", watch_id, "--response", '{"ticket": 7}').code == DONE
        assert '"ticket": 7' in call("pause", "get", watch_id).out

    def test_its_creator_takes_it_back(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused()
        assert re.match(
            rf"{watch_id} cancelled by first agent, .*: no need",
            call("pause", "cancel", watch_id, "--comment", "no need").out,
        )

    def test_a_list_at_80_columns_keeps_ids_whole(self, call: Call, paused: Callable[..., str], namespace: str) -> None:
        ids = [paused("a long action, " * 30, "--tag", "t"), paused("other")]
        call("pause", "reject", ids[1])
        listed = call("pause", "list", "--namespace", namespace).out.splitlines()
        assert [line[:36] for line in listed[1:]] == ids[::-1]
        assert max(map(len, listed)) <= 80
        for query in (["--tag", "t"], ["--status", "pending"], ["--search", "long"]):
            found = call("pause", "list", "--namespace", namespace, "--json", *query).document["items"]
            assert [item["watchId"] for item in found] == ids[:1]
        first = call("pause", "list", "--namespace", namespace, "--limit", "1").out
        (cursor,) = re.findall(r"more: --cursor (\w+)", first)
        assert ids[0] in call("pause", "list", "--namespace", namespace, "--cursor", cursor).out
        said = io.StringIO()
        page(Console(file=said), {"items": [], "next_cursor": cursor}, Table(), "no pauses")
        assert said.getvalue() == f"no pauses so far\nmore: --cursor {cursor}\n"
        decided = call("pause", "list", "--namespace", namespace, "--decided-by", "me").out.splitlines()
        assert [line[:36] for line in decided[1:]] == ids[1:]
        assert "by first reviewer" in decided[1]
        assert max(map(len, decided)) <= 80
        assert len(call("pause", "list", "--namespace", namespace, "--decided", "--json").document["items"]) == 1

    def test_an_operator_settles_an_outcome(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused("Pay")
        call("pause", "approve", watch_id)
        call("pause", "consume", watch_id, "--idempotency-key", "pay-0001")
        call("pause", "outcome", watch_id, "unknown")
        assert call("pause", "settle", watch_id, "succeeded").code == WRONG
        settled = call("pause", "settle", watch_id, "succeeded", "--note", "in the ledger")
        assert "succeeded, settled by first operator" in settled.out
        assert call("pause", "settle", watch_id, "failed", "--note", "x").error.startswith("OUTCOME_CONFLICT: ")

    def test_a_list_of_a_door(self, call: Call, stack: Stack, paused: Callable[..., str], namespace: str) -> None:
        paused("other")
        body = {"action": "x", "namespace": namespace, "metadata": {"door": "mcp"}}
        headers = {"Authorization": f"Bearer {stack.credentials['agent_key']}"}
        made = httpx.post(f"{stack.url}/api/pause", json=body, headers=headers).json()["watchId"]
        query = ("pause", "list", "--namespace", namespace, "--json", "--door")
        assert [item["watchId"] for item in call(*query, "mcp").document["items"]] == [made]
        assert call(*query, "MCP").code == REFUSED

    def test_an_approval_is_used_and_its_outcome_is_reported(
        self, call: Call, paused: Callable[..., str], namespace: str
    ) -> None:
        options = ("--approval-valid-for", "15m", "--outcome-within", "10m")
        watch_id, other = paused("Pay", "--arguments", '{"n": 1}', *options), paused("Pay again")
        assert call("pause", "consume", watch_id, "--idempotency-key", "pay-0001").error.startswith("NOT_APPROVED: ")
        for each in (watch_id, other):
            call("pause", "approve", each)
        unused = call("pause", "list", "--namespace", namespace, "--not-consumed").out.splitlines()
        assert [line[:36] for line in unused[1:]] == [other, watch_id]
        assert "not used yet, valid" in unused[2]
        assert max(map(len, unused)) <= 80
        use = ("pause", "consume", watch_id, "--idempotency-key", "pay-0001")
        assert call(*use, "--arguments", '{"n": 2}').error.startswith("ARGUMENTS_CHANGED: ")
        assert "outcome not reported yet" in call(*use, "--arguments", '{"n": 1.0}').out
        assert call(*use).code == DONE
        late = call("pause", "consume", watch_id, "--idempotency-key", "pay-0002")
        assert (late.code, late.error.split(":")[0]) == (REFUSED, "ALREADY_CONSUMED")
        report = ("pause", "outcome", watch_id, "unknown", "--note", "the line broke", "--result", '{"id": 7}')
        assert "outcome unknown: needs a look" in call(*report).out
        assert call("pause", "outcome", watch_id, "failed").error.startswith("OUTCOME_CONFLICT: ")
        shown = call("pause", "get", watch_id).out
        assert re.search(r"used \d+ s later, outcome unknown: needs a look: the line broke", " ".join(shown.split()))
        assert '"id": 7' in shown
        for filters, ids in (
            (["--outcome", "unknown"], [watch_id]),
            (["--outcome", "missing"], []),
            (["--consumed"], [watch_id]),
        ):
            found = call("pause", "list", "--namespace", namespace, "--json", *filters).document["items"]
            assert [item["watchId"] for item in found] == ids
        listed = call("pause", "list", "--namespace", namespace, "--consumed").out.splitlines()
        assert max(map(len, listed)) <= 80
        assert call("pause", "consume", other).code == WRONG

    def test_in_a_pipe_nothing_is_cut_or_coloured(self, paused: Callable[..., str], namespace: str) -> None:
        action = "a long action, " * 30
        paused(action)
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        ran = subprocess.run(
            [SAGAHOLD, "pause", "list", "--namespace", namespace],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert action.strip() in ran.stdout
        assert "\x1b" not in ran.stdout


LONG = "\n".join(f"line {number} of a long text" for number in range(1, 41))
POSTED = {"zip": "01067", "count": 3, "note": LONG, "x\x1b[2J": "a\u202eb", "gone": True, "same": [1, "1"]}
EDITED = {
    "zip": 1067,
    "count": "3",
    "note": LONG.replace("line 30 of", "line 30 i\u202en"),
    "x\x1b[2J": "a\u202ec\x07",
    "same": [1.0, "1"],
    "more": {"sql": "DROP TABLE orders; " * 10},
}


class TestEdit:
    def test_what_an_edit_changes_is_shown_place_by_place(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused("Ship it", "--arguments", json.dumps(POSTED))
        edit = ("pause", "approve", watch_id, "--arguments", json.dumps(EDITED))
        preview = call(*edit, "--preview")
        assert (preview.code, preview.err) == (DONE, "")
        assert call("pause", "get", watch_id, "--json").document["status"] == "pending"
        lines = [line.strip() for line in preview.out.splitlines()]
        zip_ = lines.index("arguments.zip, type changes: text → number")
        assert lines[zip_ + 1 : zip_ + 3] == ['- "01067"', "+ 1067"]
        count = lines.index("arguments.count, type changes: number → text")
        assert lines[count + 1 : count + 3] == ["- 3", '+ "3"']
        # A long text shows only the changed word and some words around it.
        note = lines.index("arguments.note, line 30")
        assert "line 30 [-of-] a long text" in preview.out
        assert "line 30 {+i\\u202en+} a long text" in preview.out
        assert "line 10 of" not in preview.out
        gone, more = lines.index("arguments.gone, removed"), lines.index("arguments.more, added")
        assert lines[gone + 1] == "- true"
        assert lines[more + 1] == "+ {"
        assert zip_ < count < note < gone < more
        assert not any("arguments.same" in line for line in lines)
        assert max(map(len, preview.out.splitlines())) <= 80
        assert preview.out.count("DROP") == 10
        assert not set("\x1b\x07\u202e") & set(preview.out)
        approved = call(*edit)
        assert approved.out.startswith(preview.out)
        assert approved.out.removeprefix(preview.out).startswith(f"{watch_id} approved by first reviewer")
        decided = call("pause", "get", watch_id, "--json").document
        assert (decided["agentContext"]["arguments"], decided["postedArguments"]) == (EDITED, POSTED)
        shown = call("pause", "get", watch_id).out
        assert preview.out.removeprefix("Changes\n") in shown.split("\nEdited by reviewers\n")[1]
        assert max(map(len, shown.splitlines())) <= 80

    def test_for_programs(self, call: Call, paused: Callable[..., str]) -> None:
        """The answer is the server's alone; what would change comes as JSON where it is asked for."""
        watch_id = paused("Ship it", "--arguments", '{"zip": "01067"}')
        edit = ("pause", "approve", watch_id, "--json", "--arguments", '{"zip": 1067}')
        change = {
            "path": "arguments.zip",
            "kind": "changed",
            "old": "01067",
            "new": 1067,
            "retyped": ["text", "number"],
        }
        assert call(*edit, "--preview").document == {"changes": [change]}
        assert call(*edit).document["watchId"] == watch_id

    def test_an_edit_that_changes_nothing(self, call: Call, paused: Callable[..., str]) -> None:
        watch_id = paused("Ship it", "--arguments", '{"n": 1}')
        assert "Edited" not in call("pause", "get", watch_id).out
        same = ("pause", "approve", watch_id, "--arguments", '{"n": 1.0}')
        assert call(*same, "--preview").out == "arguments: no changes\n"
        assert call("pause", "approve", watch_id, "--preview").code == WRONG
        assert call(*same).out.startswith(f"{watch_id} approved")


class TestWait:
    @pytest.mark.parametrize(("verb", "code"), [("approve", DONE), ("reject", REFUSED), ("cancel", REFUSED)])
    def test_its_exit_status_is_the_decision(
        self, call: Call, held: Callable[[], float], paused: Callable[..., str], verb: str, code: int
    ) -> None:
        watch_id = paused()
        waiting = start("pause", "wait", watch_id)
        assert wait_until(lambda: held() == 1, END_SECONDS)
        word = call("pause", verb, watch_id).out.split()[1]
        ran = finish(waiting)
        assert ran.code == code
        assert ran.out.startswith(f"{watch_id} {word} by first ")
        if code != DONE:
            assert ran.error == f"{watch_id} was not approved: {word}"

    def test_silence_is_not_consent(self, call: Call, namespace: str) -> None:
        ran = call("pause", "create", "x", "--namespace", namespace, "--expires-in", "1", "--wait", "--json")
        assert (ran.code, ran.document["status"]) == (REFUSED, "expired")
        assert ran.error.endswith("was not approved: expired")

    def test_it_gives_up_after_its_timeout(self, call: Call, paused: Callable[..., str]) -> None:
        ran = call("pause", "wait", paused(), "--timeout", "1s")
        assert ran.code == REFUSED
        assert ran.error.endswith("is still pending after 1 s")

    def test_ctrl_c_is_one_line(self, call: Call, held: Callable[[], float], paused: Callable[..., str]) -> None:
        watch_id = paused()
        waiting = start("pause", "wait", watch_id)
        assert wait_until(lambda: held() == 1, END_SECONDS)
        waiting.send_signal(signal.SIGINT)
        ran = finish(waiting)
        assert (ran.code, ran.err.strip()) == (130, "sagahold: interrupted")
        # Else the server would hold on for as long as it was asked to.
        call("pause", "cancel", watch_id)

    def test_it_outlives_a_restart_of_the_server(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, paused: Callable[..., str]
    ) -> None:
        """Answers in turn: pending, a broken connection, no database, approved."""
        monkeypatch.setattr("cli.pause_wait.RETRY_SECONDS", 0.01)
        pending = call("pause", "get", paused(), "--json").document
        decision = {"decidedBy": "key_1", "decidedByName": "ann", "decidedAt": pending["createdAt"], "comment": None}
        unavailable = {"code": "DATABASE_UNAVAILABLE", "detail": "away"}
        answers = iter(
            [
                reply(200, json.dumps(pending).encode()),
                lambda exchange: exchange.read(),
                reply(503, json.dumps(unavailable).encode()),
                reply(200, json.dumps(pending | {"status": "approved", "decision": decision}).encode()),
            ]
        )
        with Receiver(lambda exchange: next(answers)(exchange)) as server:
            ran = call("pause", "wait", pending["watchId"], "--url", server.url_as("127.0.0.1", ""))
        assert (ran.code, ran.err) == (DONE, "")
        assert " approved by ann" in ran.out
