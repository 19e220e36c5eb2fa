"""Each failure of the hook ends with status 2 and a reason, which is the one answer that blocks a tool."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sagahold.protocol import Answer, Call
from sagahold.testing import FakeApprover

from cli.client import Failure, ServerUnreachable, open_server
from cli.devstack.waiting import wait_until
from cli.held_action import ActionDesk
from cli.hook.decide import Decider
from cli.hook.events import BadEvent, read_event
from cli.hook.rules import BadRules, Rule, load
from cli.hook.state import State
from tests.clients.claude_hook.driver import Hook, after, event, finish, permission
from tests.clients.desk import WITHIN
from tests.clients.sdk_python.http_fake import Change, http_fake

PROBLEM = {"type": "about:blank", "title": "no", "detail": "the reason", "code": "CODE"}


@pytest.fixture
def approver() -> FakeApprover:
    return FakeApprover()


@pytest.fixture
def hook(offline: Hook) -> Hook:
    return offline


@pytest.fixture
def asked(tmp_path: Path, approver: FakeApprover, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], str]:
    """Decide in this process by a server that answers so, and return the error. The command blocks on each error."""
    monkeypatch.setenv("SAGAHOLD_API_KEY", "hitl_test")
    call = read_event(json.dumps(event()).encode())

    def run(change: Change) -> str:
        with http_fake(approver, change) as url, open_server(url, tmp_path) as server:
            desk = ActionDesk(server, time.monotonic() + 1.5)
            with pytest.raises(Failure) as raised:
                Decider(desk, State(tmp_path), False).decide(call, Rule())
            return raised.value.format_message()

    return run


def always(status: int, body: bytes = b"", **headers: str) -> Change:
    return lambda call, answer: Answer(status, body, headers)


def when(path: str, change: Callable[[Answer], Answer | None]) -> Change:
    """Change the answers to `request`, `wait` or `consume`."""

    def changed(call: Call, answer: Answer) -> Answer | None:
        verb = call.path.removeprefix("/api/pause").rpartition("/")[2]
        verb = "wait" if "wait" in call.params else verb or call.method.replace("POST", "request")
        if verb == "request" and path == "wait":
            return altered(status="pending", decision=None)(answer)
        return change(answer) if verb == path else answer

    return changed


def altered(**fields: Any) -> Callable[[Answer], Answer]:
    def change(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        for path, value in fields.items():
            *parents, name = path.split("__")
            place = document
            for parent in parents:
                place = place[parent]
            place[name] = value
        return Answer(answer.status, json.dumps(document).encode(), answer.headers)

    return change


@pytest.mark.parametrize("change", [always(401, json.dumps(PROBLEM).encode()), always(200, b"<html>"), always(302)])
def test_a_wrong_answer_blocks(hook: Hook, approver: FakeApprover, change: Change) -> None:
    with http_fake(approver, change) as url:
        assert hook.run(event(), SAGAHOLD_URL=url).blocked.startswith("blocked: ")


def test_a_sound_server_lets_it_run(hook: Hook, approver: FakeApprover) -> None:
    """The other tests block by what they change."""
    with http_fake(approver, lambda call, answer: answer) as url:
        assert hook.run(event(), SAGAHOLD_URL=url).decision == "allow"
        assert hook.run(after(), SAGAHOLD_URL=url).status == 0
    assert [pause.outcome.status for pause in approver.pauses if pause.outcome] == ["succeeded"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503])
def test_a_problem(asked: Callable[[Change], str], status: int) -> None:
    assert "CODE: the reason" in asked(always(status, json.dumps(PROBLEM).encode()))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>proxy</html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'"approved"'),
        (200, b"{}"),
        (200, b'{"items": {}}'),
        (200, b'{"items": [{"status": "approved"}]}'),
        (200, b"[" * 100_000),
        (200, b"\xff\xfe"),
        (204, b""),
        (404, b"<html>"),
        (500, b"{}"),
        (502, b"<html>"),
    ],
)
def test_garbage(asked: Callable[[Change], str], status: int, body: bytes) -> None:
    assert "server" in asked(always(status, body))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect(asked: Callable[[Change], str], status: int) -> None:
    assert "does not answer as a Sagahold server" in asked(always(status, Location="http://127.0.0.1:1/"))


@pytest.mark.parametrize("path", ["request", "wait"])
@pytest.mark.parametrize(
    "fields",
    [
        {"status": "granted"},
        {"decision": None},
        {"decision__outcome": "rejected"},
        {"decision__arguments": {"command": "rm -rf /"}},
        {"decision__arguments": None, "argumentsDigest": None},
        {"agentContext__action": "another"},
        {"postedArguments": {"command": "another"}},
        {"unreadable": ["review"]},
        {"watchId": "7"},
    ],
)
def test_an_answer_that_does_not_fit(asked: Callable[[Change], str], path: str, fields: dict[str, Any]) -> None:
    assert "server" in asked(when(path, altered(**fields)))


@pytest.mark.parametrize("path", ["wait", "consume"])
def test_an_answer_for_another_pause(asked: Callable[[Change], str], path: str) -> None:
    assert "it is another pause" in asked(when(path, altered(watchId="wch_" + "0" * 32)))


@pytest.mark.parametrize("fields", [{"consumption": None}, {"status": "rejected"}, {"decision__arguments": {}}])
def test_a_use_that_is_not_confirmed(asked: Callable[[Change], str], fields: dict[str, Any]) -> None:
    assert "server" in asked(when("consume", altered(**fields)))


@pytest.mark.parametrize("code", ["NOT_APPROVED", "APPROVAL_EXPIRED", "ARGUMENTS_CHANGED"])
def test_an_approval_that_cannot_be_used(asked: Callable[[Change], str], code: str) -> None:
    problem = json.dumps({**PROBLEM, "code": code}).encode()
    assert code in asked(when("consume", lambda answer: Answer(409, problem)))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "cannot reach"),
        ("http://sagahold.invalid", "cannot reach"),
        ("http://[", "is not the URL of a server"),
        ("", "no server given"),
        ("http://me:s3cret@sagahold.invalid", "contains a user name or password"),
    ],
)
def test_no_server(hook: Hook, url: str, reason: str) -> None:
    blocked = hook.run(event(), SAGAHOLD_URL=url).blocked
    assert reason in blocked
    assert "s3cret" not in blocked


@pytest.mark.parametrize("key", ["hitl_mine", ""])
def test_a_checkout_does_not_choose_the_server(hook: Hook, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may contain the credentials of a server of its author."""
    data = hook.project / ".sagahold"
    data.mkdir()
    (data / "credentials.json").write_text('{"url": "http://sagahold.invalid", "agent_key": "hitl_theirs"}')
    blocked = hook.run(event(), SAGAHOLD_URL="", SAGAHOLD_API_KEY=key).blocked
    assert "names http://sagahold.invalid, another machine: set SAGAHOLD_URL" in blocked
    monkeypatch.setenv("SAGAHOLD_API_KEY", "hitl_mine")
    with pytest.raises(ServerUnreachable, match="another machine"), open_server(None, data):
        pass


def test_a_bad_key(hook: Hook) -> None:
    assert "SAGAHOLD_API_KEY is not a key" in hook.run(event(), SAGAHOLD_API_KEY="secret").blocked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "{",
        "null",
        "[]",
        "nonsense",
        "[" * 100_000,
        '{"hook_event_name": "PreToolUse", "hook_event_name": "PreToolUse"}',
        json.dumps(event(hook_event_name="Stop")),
        json.dumps(event(hook_event_name=None)),
        json.dumps(event(hook_event_name=["PreToolUse"])),
        json.dumps(event(tool_input=None)),
        json.dumps(event(tool_input="ls")),
        json.dumps(event(tool_input={"n": float("nan")})),
        json.dumps(event(tool_name="")),
        json.dumps(event(session_id=None)),
        json.dumps(event(tool_use_id=7)),
        json.dumps(event(cwd=None)),
    ],
)
def test_an_event_that_is_none(text: str) -> None:
    with pytest.raises(BadEvent):
        read_event(text.encode())


@pytest.mark.parametrize("text", ["", "nonsense", "[" * 100_000, json.dumps(event(hook_event_name="Stop"))])
def test_standard_input(hook: Hook, text: str) -> None:
    hook.rules('[[rule]]\ntool = "*"\ndo = "pass"\n')
    assert hook.run(text).blocked


def test_standard_input_that_is_not_text(hook: Hook) -> None:
    started = hook.start("")
    finish(started)
    command = started.args
    assert isinstance(command, list)
    ran = subprocess.run(command, env=hook.environ, cwd=hook.project, input=b"\xff\xfe{}", capture_output=True)
    assert (ran.returncode, ran.stdout) == (2, b"")


def test_an_unknown_option_or_a_timeout_that_is_too_short(hook: Hook) -> None:
    for options in (["--nonsense"], ["--timeout", "20"]):
        assert hook.run(event(), *options).blocked


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections, sends half an answer, and never ends it."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            listening.settimeout(0.2)
            opened = []
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    for connection in opened:
                        connection.sendall(b"x")
                    continue
                opened.append(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            for connection in opened:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        thread.join()


def test_a_server_that_drips(hook: Hook, silent: str) -> None:
    assert hook.run(event(), "--timeout", "26", SAGAHOLD_URL=silent).blocked == "blocked: no answer within 6 s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal(hook: Hook, approver: FakeApprover, number: signal.Signals) -> None:
    reached = threading.Event()

    def hang(call: Call, answer: Answer) -> None:
        reached.set()
        assert wait_until(lambda: started.poll() is not None, WITHIN)

    with http_fake(approver, hang) as url:
        started = hook.start(event(), SAGAHOLD_URL=url)
        assert reached.wait(WITHIN)
        started.send_signal(number)
        assert finish(started).blocked == f"blocked: ended by {number.name}"


def test_a_connection_that_closes(asked: Callable[[Change], str]) -> None:
    assert "cannot reach" in asked(lambda call, answer: None)


@pytest.mark.parametrize(
    "rules",
    [
        "nonsense",
        "rules = []",
        '[[rule]]\ndo = "pass"',
        '[[rule]]\ntool = "Bash"',
        '[[rule]]\ntool = "Bash"\ndo = "allow"',
        '[[rule]]\ntool = 7\ndo = "pass"',
        '[[rule]]\ntool = []\ndo = "pass"',
        '[[rule]]\ntool = "Bash"\ndo = "pass"\ncommand = "("',
        '[[rule]]\ntool = "Bash"\ndo = "pass"\ncommand = 7',
        '[[rule]]\ntool = "Bash"\ndo = "pass"\ncomand = "ls"',
        '[[rule]]\ntool = "Bash"\ndo = "hold"\nreview = "ann"',
        '[[rule]]\ntool = "Bash"\ndo = "hold"\nexpires_in = true',
        'default = "pass"',
        'rule = ["pass"]',
    ],
)
def test_rules_that_are_not_valid(tmp_path: Path, rules: str) -> None:
    (tmp_path / "sagahold.toml").write_text(rules)
    with pytest.raises(BadRules, match=r"sagahold\.toml are not valid"):
        load(tmp_path / "sagahold.toml")


def test_rules_that_cannot_be_read(hook: Hook, tmp_path: Path) -> None:
    hook.rules("nonsense")
    assert "sagahold.toml are not valid" in hook.run(event()).blocked
    file = hook.project / ".claude" / "sagahold.toml"
    file.unlink()
    file.symlink_to(tmp_path / "missing")
    assert f"cannot read the rules {file}" in hook.run(event()).blocked
    file.unlink()
    file.mkdir()
    assert "Is a directory" in hook.run(event()).blocked
    file.rmdir()
    file.write_bytes(b"\xff\xfe")
    assert "not valid" in hook.run(event()).blocked
    assert "No such file" in hook.run(event(), "--rules", str(tmp_path / "missing")).blocked


def test_a_state_folder_that_cannot_be_written(hook: Hook, approver: FakeApprover, tmp_path: Path) -> None:
    """The outcome could not be reported, so the approval is not used."""
    (tmp_path / "file").touch()
    with http_fake(approver, lambda call, answer: answer) as url:
        assert "Error" in hook.run(event(), SAGAHOLD_URL=url, XDG_STATE_HOME=str(tmp_path / "file")).blocked
    assert [pause.consumed_at for pause in approver.pauses] == [None]


def test_standard_output_that_is_closed(hook: Hook, approver: FakeApprover) -> None:
    with http_fake(approver, lambda call, answer: answer) as url:
        started = hook.start(event(), SAGAHOLD_URL=url)
        assert started.stdout is not None
        started.stdout.close()
        started.stdout = None
        assert finish(started).status == 2


def test_a_permission_request_is_denied_by_its_answer(hook: Hook) -> None:
    """Claude Code ignores the status of this event's hook: its user, or another hook, would decide."""
    ran = hook.run(permission())
    decision = json.loads(ran.out)["hookSpecificOutput"]["decision"]
    assert decision["behavior"] == "deny"
    assert "cannot reach" in decision["message"]
    assert ran.status == 2


def test_an_outcome_that_cannot_be_reported(hook: Hook, approver: FakeApprover) -> None:
    with http_fake(approver, lambda call, answer: answer) as url:
        assert hook.run(event(), SAGAHOLD_URL=url).decision == "allow"
        problem = when("outcome", lambda answer: Answer(403, json.dumps(PROBLEM).encode()))
    with http_fake(approver, problem) as url:
        assert hook.run(after(), SAGAHOLD_URL=url).blocked == "the outcome is not reported: CODE: the reason"
    with http_fake(approver, lambda call, answer: answer) as url:
        assert hook.run(after(), SAGAHOLD_URL=url).status == 0
    assert [pause.outcome is not None for pause in approver.pauses] == [True]
