"""`sagahold receipt …` against a running stack, and receipts that are verified without one."""

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from cli.devstack import Stack
from services.kernel.unit_of_work import Database
from tests.acceptance.commands import DONE, END_SECONDS, REFUSED, SAGAHOLD, WRONG, Ran
from tests.services.world import change, uuid_of

Call = Callable[..., Ran]
Paused = Callable[..., str]
GUIDE = Path(__file__).parents[2] / "docs" / "receipts.md"
ARGUMENTS = '{"order": 1042, "amount": 129.0}'


class Files(NamedTuple):
    """A receipt and the keys that verify it, on a machine that knows no server and no key."""

    watch_id: str
    receipt: str
    keys: str


@pytest.fixture
def files(
    call: Call, paused: Paused, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Files]:
    def make(verb: str = "approve", *options: str) -> Files:
        watch_id = paused("Refund order 1042", "--arguments", ARGUMENTS, *options)
        assert call("pause", verb, watch_id).code == DONE
        made = Files(watch_id, str(tmp_path / "receipt.jws"), str(tmp_path / "keys.json"))
        ran = call("receipt", "get", watch_id, "-o", made.receipt)
        assert (ran.code, ran.out, ran.err) == (DONE, "", "")
        Path(made.keys).write_bytes(httpx.get(f"{stack.url}/.well-known/jwks.json").content)
        for name in ("SAGAHOLD_DATA_DIR", "SAGAHOLD_URL", "SAGAHOLD_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(tmp_path)
        return made

    return make


def test_a_receipt_says_who_decided_within_80_columns(call: Call, files: Callable[..., Files]) -> None:
    found = files()
    ran = call("receipt", "verify", found.receipt, "--jwks", found.keys)
    assert ran.code == DONE, ran.err
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "✔ the receipt is genuine"
    text = " ".join(ran.out.split())
    assert "outcome approved decided " in text
    assert f"pause {found.watch_id}, revision 1 " in text
    assert "first reviewer (key_" in text
    assert "with an API key" in text
    assert "policy 1 approval " in text


def test_the_commands_of_the_guide(call: Call, paused: Paused, stack: Stack, tmp_path: Path) -> None:
    """They run as printed in docs/receipts.md."""
    watch_id = paused("Refund order 1042", "--arguments", ARGUMENTS)
    call("pause", "approve", watch_id)
    (tmp_path / "arguments.json").write_text(ARGUMENTS)
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    path = f"{SAGAHOLD.parent}:{os.environ['PATH']}"
    more = {"PATH": path, "SAGAHOLD_URL": stack.url, "WATCH_ID": watch_id}
    shell = subprocess.run(
        ["sh", "-euc", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert shell.stdout.count("✔ the receipt is genuine") == 2
    assert shell.stdout.count("exactly these (") == 1


def test_the_approved_arguments_and_action(call: Call, files: Callable[..., Files], tmp_path: Path) -> None:
    found = files()
    verify = ("receipt", "verify", found.receipt, "--jwks", found.keys)
    # The order of names and the notation of numbers do not count.
    (tmp_path / "arguments.json").write_text('{"amount": 129, "order": 1042}')
    (tmp_path / "action.txt").write_text("Refund order 1042\n")
    for given in ("arguments.json", "@arguments.json", ARGUMENTS):
        ran = call(*verify, "--arguments", given, "--action", "@action.txt")
        assert ran.code == DONE, ran.err
        assert "exactly these (" in ran.out
        assert "exactly this one (" in ran.out
    ran = call(*verify, "--arguments", '{"order": 1042, "amount": 1290}')
    assert ran.code == REFUSED
    assert ran.error == f"these are not the arguments of {found.watch_id}: their digest differs"
    assert call(*verify, "--action", "Refund order 1043").error.startswith("this is not the action of ")
    ran = call(*verify, "--arguments", "{}", "--action", "Refund order 1042", "--json")
    assert (ran.code, ran.document["ok"]) == (REFUSED, False)
    assert (ran.document["arguments"], ran.document["action"]) == (False, True)


def test_an_approval_that_was_used(
    call: Call, paused: Paused, stack: Stack, stack_database: Database, tmp_path: Path
) -> None:
    watch_id = paused()
    call("pause", "approve", watch_id)
    agent = {"Authorization": f"Bearer {stack.credentials['agent_key']}"}
    url = f"{stack.url}/api/pause/{watch_id}"
    httpx.post(f"{url}/consume", headers=agent | {"Idempotency-Key": "run-0001"}, json={}).raise_for_status()
    httpx.post(f"{url}/outcome", headers=agent, json={"status": "succeeded"}).raise_for_status()
    change(stack_database, "UPDATE pauses SET approval_valid_for = 0 WHERE id = :id", id=uuid_of(watch_id))
    call("receipt", "get", watch_id, "-o", str(tmp_path / "used.jws"))
    # The log of the shared stack does not fit this row.
    change(stack_database, "DELETE FROM pauses WHERE id = :id", id=uuid_of(watch_id))
    ran = call("receipt", "verify", str(tmp_path / "used.jws"))
    assert ran.code == DONE, ran.err
    text = " ".join(ran.out.split())
    assert " UTC (past) used 20" in text
    assert " execution succeeded, reported 20" in text


def test_a_rejection_approves_no_arguments(call: Call, files: Callable[..., Files]) -> None:
    found = files("reject")
    verify = ("receipt", "verify", found.receipt, "--jwks", found.keys)
    assert "outcome       rejected" in call(*verify).out
    ran = call(*verify, "--arguments", ARGUMENTS)
    assert (ran.code, ran.error) == (REFUSED, f"the arguments of {found.watch_id} were not approved: rejected")


def test_for_programs(call: Call, files: Callable[..., Files]) -> None:
    found = files()
    document = call("receipt", "verify", found.receipt, "--jwks", found.keys, "--json").document
    assert (document["ok"], document["claims"]["watch_id"]) == (True, found.watch_id)
    assert document.keys() == {"ok", "kid", "claims"}


def test_a_changed_receipt(call: Call, files: Callable[..., Files]) -> None:
    found = files()
    token = Path(found.receipt).read_text().strip()
    for content, why in (
        (token[:-2], "it is not an Ed25519 signature"),
        (f"{token[:-3]}AAA", "its signature is wrong"),
        ("", "three base64url parts"),
        ("x" * 300_000, "larger than 256 KiB"),
    ):
        Path(found.receipt).write_text(content)
        ran = call("receipt", "verify", found.receipt, "--jwks", found.keys)
        assert (ran.code, ran.out) == (REFUSED, "")
        assert ran.error.startswith("the receipt is not genuine: ")
        assert why in ran.error
        ran = call("receipt", "verify", found.receipt, "--jwks", found.keys, "--json")
        assert (ran.code, json.loads(ran.out)["ok"]) == (REFUSED, False)


def test_what_cannot_be_found_out(call: Call, files: Callable[..., Files], tmp_path: Path, closed_port: int) -> None:
    found = files()
    receipt = ("receipt", "verify", found.receipt)
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "nan.json").write_text('{"a": NaN}')
    (tmp_path / "deep.json").write_text("[" * 50_000)
    for args, why in (
        (("receipt", "verify", "nowhere.jws", "--jwks", found.keys), "nowhere.jws"),
        ((*receipt, "--jwks", "nowhere.json"), "cannot read 'nowhere.json': No such file"),
        ((*receipt, "--jwks", "bad.json"), "the set of keys of bad.json cannot be used"),
        ((*receipt, "--jwks", f"http://127.0.0.1:{closed_port}/keys"), "Connection refused"),
        ((*receipt, "--jwks", "http://"), "cannot read http://"),
        (receipt, "no server given"),
        ((*receipt, "--jwks", found.keys, "--arguments", "nowhere.json"), "cannot read 'nowhere.json'"),
        ((*receipt, "--jwks", found.keys, "--arguments", "nan.json"), "--arguments is not valid JSON"),
        ((*receipt, "--jwks", found.keys, "--arguments", "deep.json"), "--arguments is not valid JSON"),
        ((*receipt, "--jwks", found.keys, "--arguments", '{"a": 1, "a": 2}'), "a name occurs twice"),
        ((*receipt, "--jwks", found.keys, "--arguments", '{"a": 1e400}'), "--arguments"),
        ((*receipt, "--jwks", found.keys, "--action", "@nowhere.txt"), "cannot read 'nowhere.txt'"),
    ):
        ran = call(*args)
        assert ran.code == WRONG, args
        assert why in ran.error, args


class _Keys(BaseHTTPRequestHandler):
    """A server of keys: good ones, another page, and one that never ends."""

    content = b""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/none" else 302 if self.path == "/moved" else 200)
        self.end_headers()
        # The client hangs up when it has read enough.
        with contextlib.suppress(OSError):
            self.wfile.write(self.content if self.path == "/keys" else b" " * 3_000_000)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal of the test."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Keys) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_keys_from_a_url(call: Call, files: Callable[..., Files], url: str) -> None:
    found = files()
    _Keys.content = Path(found.keys).read_bytes()
    verify = ("receipt", "verify", found.receipt, "--jwks")
    assert call(*verify, f"{url}/keys").code == DONE
    for path, why in (("none", "answers 404"), ("moved", "answers 302"), ("long", "larger than 1 MiB")):
        ran = call(*verify, f"{url}/{path}")
        assert ran.code == WRONG
        assert why in ran.error


def test_the_server_has_the_keys_too(call: Call, paused: Paused, tmp_path: Path) -> None:
    watch_id = paused()
    ran = call("receipt", "get", watch_id)
    assert (ran.code, ran.error.partition(":")[0]) == (REFUSED, "NOT_RESOLVED")
    call("pause", "cancel", watch_id)
    ran = call("receipt", "get", watch_id)
    (tmp_path / "receipt.jws").write_text(ran.out)
    assert call("receipt", "get", watch_id, "--json").document["receipt"].count(".") == 2
    ran = call("receipt", "verify", str(tmp_path / "receipt.jws"))
    assert ran.code == DONE, ran.err
    assert "outcome       cancelled" in ran.out
    ran = call("receipt", "get", watch_id, "-o", str(tmp_path / "none" / "x"))
    assert (ran.code, ran.error.startswith("cannot write ")) == (REFUSED, True)


def test_time_that_ran_out(call: Call, paused: Paused, tmp_path: Path) -> None:
    watch_id = paused("deploy", "--expires-in", "1")
    assert call("pause", "wait", watch_id, "--timeout", "90").code == REFUSED
    call("receipt", "get", watch_id, "-o", str(tmp_path / "late.jws"))
    assert "by            no person: time ran out" in call("receipt", "verify", str(tmp_path / "late.jws")).out


def test_a_rotation_keeps_earlier_receipts_valid(call: Call, paused: Paused, tmp_path: Path) -> None:
    watch_id = paused()
    call("pause", "approve", watch_id)
    call("receipt", "get", watch_id, "-o", str(tmp_path / "old.jws"))
    before = call("receipt", "keys", "--json").document["items"][0]
    assert (before["place"], before["encrypted"], before["problem"]) == ("database", False, None)
    ran = call("receipt", "rotate-key")
    assert ran.out.startswith("receipts are signed with ")
    listed = call("receipt", "keys")
    assert max(map(len, listed.out.splitlines())) <= 80
    assert " ".join(listed.out.split()).count("current, in the database not encrypted, made ") == 1
    assert f"{before['kid']}  retired " in listed.out
    call("receipt", "get", watch_id, "-o", str(tmp_path / "new.jws"))
    for name in ("old.jws", "new.jws"):
        assert call("receipt", "verify", str(tmp_path / name)).code == DONE
