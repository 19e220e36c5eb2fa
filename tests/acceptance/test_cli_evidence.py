"""`sagahold evidence` against a running stack, and the SDK's verifier, which has no server."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest
import sagahold
from sagahold.evidence import EvidenceRefused, verify

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import DONE, REFUSED, Ran

Call = Callable[..., Ran]


@pytest.fixture
def archive(call: Call, paused: Callable[..., str], namespace: str, tmp_path: Path) -> Path:
    """The evidence of an approved pause with a line break of Unicode in it, among other entries."""
    watch_id, other = paused("přenést\u2028🐎"), paused("another")
    call("pause", "approve", watch_id, "--comment", "é\u2028\x85")
    call("pause", "reject", other)
    file = tmp_path / "evidence.zip"
    assert call("evidence", watch_id, "-o", str(file), "--url", "http://127.0.0.1:9").code != DONE
    command = ("evidence", watch_id, "--namespace", namespace, "-o", str(file), "--json")
    assert wait_until(lambda: (ran := call(*command)).code == DONE and ran.document["entries"] == 2, 240)
    assert call(*command).document["receipts"] == 1
    return file


def rewritten(file: Path, changes: Mapping[str, Callable[[str], str]]) -> Path:
    """A copy of the archive with changed parts."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(file.with_name("forged.zip"), "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, str)(old.read(name).decode()))
    return file.with_name("forged.zip")


def test_evidence_is_verified_without_a_server(archive: Path, stack: Stack, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(httpx.get(f"{stack.url}/.well-known/jwks.json").text)
    command = [sys.executable, "-m", "sagahold.evidence", str(archive), "--jwks", str(keys)]
    environ = {**os.environ, "PYTHONPATH": str(Path(sagahold.__file__).parents[1])}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("genuine: 2 entries and 1 receipts\n")
    found = verify(archive)
    assert [entry["type"] for entry in found.entries] == ["pause.created", "pause.approved"]
    assert found.receipts[0]["outcome"] == "approved"
    with zipfile.ZipFile(archive) as opened:
        assert "python -m sagahold.evidence" in opened.read("README.txt").decode()


def moved(lines: str) -> str:
    first = json.loads(lines.split("\n")[0])
    return json.dumps(first | {"index": first["index"] + 1}) + "\n"


FORGED: list[tuple[dict[str, Callable[[str], str]], str]] = [
    ({"entries.jsonl": lambda old: old.replace("approved", "rejected")}, "is not in the log"),
    ({"entries.jsonl": moved}, "is not in the log"),
    ({"entries.jsonl": lambda _: ""}, "no entry records the decision"),
    ({"checkpoint.txt": lambda old: old.replace("\n", "\n1", 1)}, "signature of the checkpoint is wrong"),
    ({"checkpoint.txt": lambda old: old.split("\n\n")[0] + "\n\n"}, "none of the public keys"),
    ({"receipts/1.jws": lambda old: old.replace(".", ".e", 1)}, "signature of a receipt is wrong"),
    ({"keys.json": lambda old: old.replace('"x": "', '"x": "A')}, "not its thumbprint"),
    ({"keys.json": lambda _: '{"keys": []}'}, "none of the public keys"),
    ({"keys.json": lambda _: "[]"}, "cannot be read"),
]


def test_changed_evidence_is_refused(archive: Path) -> None:
    for changes, said in FORGED:
        with pytest.raises(EvidenceRefused, match=said):
            verify(rewritten(archive, changes))


def test_no_evidence_of_what_the_log_has_not(call: Call, archive: Path, tmp_path: Path) -> None:
    ran = call("evidence", "wch_" + "0" * 32, "-o", str(tmp_path / "none.zip"))
    assert (ran.code, ran.error.startswith("NOT_FOUND: ")) == (REFUSED, True)
    assert not (tmp_path / "none.zip").exists()
    archive.write_bytes(b"PK")
    with pytest.raises(EvidenceRefused, match="not a file of evidence"):
        verify(archive)
