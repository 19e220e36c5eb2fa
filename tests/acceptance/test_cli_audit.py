"""`sagahold audit …` against a running stack, and an export that is verified without one."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import DONE, REFUSED, WRONG, Ran
from tests.conftest import execute

Call = Callable[..., Ran]
Paused = Callable[..., str]


def until_linked(call: Call, namespace: str) -> None:
    """Wait until the stack's processes have linked the entries, which they do every second."""
    listed = ("audit", "list", "--namespace", namespace, "--json")
    assert wait_until(lambda: all(event["seq"] for event in call(*listed).document["items"]), 240)


def until_signed(call: Call, namespace: str, size: int) -> None:
    """Wait until a worker has signed a checkpoint of this size."""
    latest = ("audit", "checkpoint", "--namespace", namespace)
    assert wait_until(lambda: call(*latest).out.split("\n")[1:2] == [str(size)], 240)


@pytest.fixture
def exported(call: Call, paused: Paused, namespace: str, tmp_path: Path) -> Path:
    """Export a namespace with one created and approved pause: its checkpoints, rows 1 and 2, and the heads."""
    watch_id = paused("přenést\u2028🐎")
    call("pause", "approve", watch_id, "--comment", "é")
    until_signed(call, namespace, 2)
    file = tmp_path / "audit.jsonl"
    ran = call("audit", "export", "--namespace", namespace, "-o", str(file))
    assert (ran.code, ran.out, ran.err) == (DONE, "", "")
    return file


@pytest.fixture
def alone(exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The export on a machine that knows no server and no key."""
    for name in ("SAGAHOLD_DATA_DIR", "SAGAHOLD_URL", "SAGAHOLD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return exported


def test_what_was_changed_is_listed_within_80_columns(call: Call, paused: Paused, namespace: str) -> None:
    watch_id = paused()
    call("pause", "reject", watch_id)
    listed = call("audit", "list", "--namespace", namespace).out
    assert max(map(len, listed.splitlines())) <= 80
    assert listed.index("pause.rejected") < listed.index("pause.created")
    assert listed.count(watch_id) == 2
    until_linked(call, namespace)
    scope = ("--namespace", namespace, "--type", "pause.created", "--subject", watch_id)
    (event,) = call("audit", "list", *scope, "--json").document["items"]
    assert (event["type"], event["seq"]) == ("pause.created", 1)
    assert call("audit", "list", *scope, "--until", "2020-01-01T00:00:00Z").out == "no entries\n"
    more = call("audit", "list", "--namespace", namespace, "--limit", "1").out
    assert "more: --cursor " in more
    assert call("audit", "list", "--since", "soon").error.startswith("VALIDATION_FAILED: since: ")


def test_a_pause_that_was_changed_in_the_database_is_named(
    call: Call, paused: Paused, namespace: str, stack: Stack
) -> None:
    watch_id = paused()
    call("pause", "approve", watch_id)
    verify = ("audit", "verify", "--rows", "--namespace", namespace)
    assert call(*verify).out.endswith("\n1 pauses, 0 sagas and 0 steps match the log\n")
    execute(stack.database_url, f"UPDATE pauses SET decided_by_name = 'Mallory' WHERE namespace = '{namespace}'")
    ran = call(*verify)
    assert ran.code == REFUSED
    assert ran.error.startswith(
        f"the pause {watch_id} in namespace {namespace!r} was changed: its decided_by_name is 'Mallory'"
    )
    execute(stack.database_url, f"UPDATE pauses SET action = 'another' WHERE namespace = '{namespace}'")
    ran = call(*verify)
    assert ran.error.endswith("; 1 more fields differ")
    lines = ran.out.splitlines()
    assert [line.split(" was changed: its ")[1].split()[0] for line in lines] == ["decided_by_name", "action"]
    assert {line.split(" was changed")[0] for line in lines} == {f"the pause {watch_id} in namespace {namespace!r}"}
    found = call(*verify, "--json")
    assert [bad["field"] for bad in json.loads(found.out)["rows"]["bad"]] == ["decided_by_name", "action"]
    assert call("audit", "verify", "--namespace", namespace).code == DONE
    execute(stack.database_url, f"DELETE FROM pauses WHERE namespace = '{namespace}'")


def test_the_server_verifies_its_log(call: Call, paused: Paused, namespace: str) -> None:
    paused()
    until_linked(call, namespace)
    assert call("audit", "verify", "--namespace", namespace).out == "1 rows: the audit log is intact\n"
    assert call("audit", "verify", "--json").document["ok"]


def test_an_export_goes_to_a_file_or_to_a_pipe(call: Call, exported: Path, namespace: str) -> None:
    lines = exported.read_text().splitlines(keepends=True)
    piped = call("audit", "export", "--namespace", namespace).out
    assert piped == "".join(lines)
    assert call("audit", "export", "-o", str(exported.parent)).code == WRONG
    assert call("audit", "export", "-o", str(exported / "x")).error.startswith("cannot write ")
    assert exported.read_text() == piped


def test_a_refused_export_leaves_the_last_one(
    call: Call, exported: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = call("keys", "create", "x", "--role", "operator", "--namespace", namespace, "--json").document
    monkeypatch.setenv("SAGAHOLD_API_KEY", made["key"])
    before = exported.read_text()
    assert call("audit", "export", "-o", str(exported)).error.startswith("FORBIDDEN: ")
    assert exported.read_text() == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


class _BreaksOff(BaseHTTPRequestHandler):
    """Answers as a web process does whose database went away halfway."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"namespace":"shop","seq":1,')

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal of the test."""


def test_an_export_that_broke_off_leaves_the_last_one(call: Call, exported: Path) -> None:
    before = exported.read_text()
    with HTTPServer(("127.0.0.1", 0), _BreaksOff) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        ran = call("audit", "export", "-o", str(exported), "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        serving.join()
    assert ran.error == "the server ended the export early: read its log, and try again"
    assert exported.read_text() == before


def test_an_export_is_verified_without_a_server(call: Call, alone: Path) -> None:
    assert call("audit", "list").code == WRONG
    assert call("audit", "verify", str(alone)).out == "2 rows: the audit log is intact\n"
    found = call("audit", "verify", str(alone), "--json").document
    # The first checkpoint may have been signed before the second row came.
    assert found.pop("signed") in (1, 2)
    assert found == {"ok": True, "checked": 2, "unlinked": 0, "overdue": 0, "first_bad": None}


@pytest.mark.parametrize(
    ("tamper", "row", "what"),
    [
        (lambda first, second, heads: [first, second.replace("approved", "rejected"), heads], 2, "was changed"),
        (lambda first, second, heads: [second, heads], 1, "is missing"),
        (lambda first, second, heads: [first, heads], 2, "is missing"),
        (lambda first, second, heads: [first, second], 3, "is missing"),
        (lambda first, second, heads: [first, first, second, heads], 1, "was inserted"),
        (lambda first, second, heads: [first, second, heads, second], 2, "was inserted"),
    ],
)
def test_a_tampered_export_is_found(
    tamper: Callable[..., list[str]], row: int, what: str, call: Call, alone: Path, namespace: str
) -> None:
    lines = [line for line in alone.read_text().split("\n") if line and not line.startswith('{"checkpoint"')]
    alone.write_bytes(b"\n".join(line.encode() for line in tamper(*lines)))
    ran = call("audit", "verify", str(alone))
    assert (ran.code, ran.out) == (REFUSED, "")
    assert ran.error == f"row {row} of the audit log of '{namespace}' {what}"
    ran = call("audit", "verify", str(alone), "--json")
    assert (ran.code, json.loads(ran.out)["first_bad"]["seq"]) == (REFUSED, row)


def test_what_is_no_export(call: Call, alone: Path) -> None:
    for content in (b"\xff\xfe", b"{}", b'{"namespace": 1}', b"<html>"):
        alone.write_bytes(content)
        assert call("audit", "verify", str(alone)).error == f"line 1 of '{alone}' is not a line of an audit export"
    alone.write_bytes(b"")
    assert call("audit", "verify", str(alone)).code == REFUSED
    assert call("audit", "verify", "nowhere.jsonl").code == WRONG
    assert call("audit", "verify", str(alone), "--namespace", "x").code == WRONG


def test_entries_that_are_not_linked_are_said(call: Call, alone: Path) -> None:
    """New ones are accepted; old ones are refused."""
    *rows, heads = alone.read_bytes().splitlines()
    for age, code, said in ((1, DONE, "and 1 newer entries are not linked yet"), (60, REFUSED, "waited for 15 s")):
        new = b'{"namespace":"shop","unlinked_for":%d,"entry":{"type":"pause.created"}}' % age
        alone.write_bytes(b"\n".join((*rows, new, heads)))
        ran = call("audit", "verify", str(alone))
        assert (ran.code, said in ran.out + ran.err) == (code, True), ran


def test_a_kept_checkpoint_reveals_a_rewritten_log(
    call: Call, exported: Path, namespace: str, stack: Stack, tmp_path: Path
) -> None:
    kept, keys = tmp_path / "kept.checkpoint", tmp_path / "keys.json"
    assert call("audit", "checkpoint", "--namespace", namespace, "-o", str(kept)).code == DONE
    keys.write_text(httpx.get(f"{stack.url}/.well-known/jwks.json").text)
    begins = "2 rows: the audit log is intact\nIt begins with the 2 entries of the checkpoint.\n"
    online = ("audit", "verify", "--namespace", namespace, "--since", str(kept))
    offline = ("audit", "verify", str(exported), "--since", str(kept))
    assert (call(*online).out, call(*offline, "--jwks", str(keys)).out) == (begins, begins)
    # As if the log had been another one when the checkpoint was kept.
    origin, size, root, *rest = kept.read_text().split("\n")
    kept.write_text("\n".join([origin, size, root.translate(str.maketrans("ABCDabcd", "BCDAbcda")), *rest]))
    assert "was rewritten: it does not begin with the 2 entries of your checkpoint" in call(*online).error
    assert call(*offline).error == (
        f"row 1 of the audit log of {namespace!r} or a later one was rewritten: a signed checkpoint does not fit"
    )
    ran = call(*offline, "--jwks", str(keys))
    assert (ran.code, "its signature is wrong" in ran.error) == (WRONG, True)
    kept.write_text("\n".join([origin, "9", root, *rest]))
    assert "was cut: it has 2 entries, and your checkpoint has 9" in call(*online).error
    assert call(*offline).error == f"row 3 of the audit log of {namespace!r} is missing"
