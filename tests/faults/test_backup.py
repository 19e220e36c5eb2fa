"""A backup of a busy stack, and the restored copy beside its original: nothing is lost, and nothing runs twice."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from cli.client import Failure
from cli.devstack import Stack, StackError
from cli.main import sagahold as commands
from cli.recovery.programs import find
from tests.conftest import ALONE, LOOPBACK, ROOT
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import until
from tests.faults.slow_ledger import AFTER

SAGAHOLD = Path(sys.executable).with_name("sagahold")
KEY = "k" * 32
OWN = {name: value for name, value in os.environ.items() if not name.startswith(("SAGAHOLD_", "DATABASE_", "REDIS_"))}


def sagahold(*words: str | Path, **environ: str) -> str:
    command = [SAGAHOLD, *words]
    ran = subprocess.run(command, env={**OWN, **environ}, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    # Paths of the test itself are longer than those of people.
    assert all(len(line) <= 80 for line in ran.stdout.splitlines() if "/" not in line), ran.stdout
    return ran.stdout


def printed(command: str, folder: Path) -> list[str]:
    """The words of the command in the documentation, with this folder."""
    (line,) = re.findall(rf"^sagahold ({command} /.*)$", (ROOT / "docs/backup.md").read_text(), re.MULTILINE)
    return [word.replace("/srv/backup/today", str(folder)) for word in line.split()]


@pytest.fixture
def scene(fragile: Stack) -> Iterator[SagaScene]:
    with SagaScene(fragile) as scene:
        scene.deploy_saga("free", step("one", "charge_once", **undo("reverse")))
        scene.deploy_saga("held", step("one", "charge_once", hitl=True, **undo("reverse")))
        yield scene


class Copy:
    """The restored stack, as its reviewer and its operator see it."""

    def __init__(self, stack: Stack, scene: SagaScene) -> None:
        self.url = stack.url
        self.scene = scene

    def get(self, path: str, by: httpx.Client) -> Any:
        return httpx.get(f"{self.url}{path}", headers=by.headers, trust_env=False).raise_for_status().json()

    def post(self, path: str, by: httpx.Client, **body: Any) -> httpx.Response:
        headers = {**by.headers, "Idempotency-Key": "of-the-copy"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, trust_env=False)

    def saga(self, trace_id: str) -> Any:
        return self.get(f"/v1/sagas/{trace_id}", self.scene.operator)


def test_restored_copy_has_everything_and_repeats_nothing(scene: SagaScene, tmp_path: Path) -> None:
    backup, data = tmp_path / "backup", tmp_path / "copy"
    decided, quiet = (scene.start_saga("held", customer=customer) for customer in ("decided", "quiet"))
    until("both are held", lambda: {trace for trace, _ in scene.for_review()} >= {decided, quiet})
    scene.ledger.hold("running", "charge_once", AFTER)
    running = scene.start_saga("free", customer="running")
    until("it is called", lambda: bool(scene.ledger.calls("running", "charge_once", AFTER)))
    approved = scene.pause()
    scene.decide(approved)
    before = back_up_under_traffic(scene, backup)
    check_refusals(scene, backup, tmp_path)

    # The original goes on after the backup.
    scene.ledger.release()
    approve_step(scene, scene.saga(decided), scene.reviewer)
    for trace_id in (decided, running):
        scene.reads_as(trace_id, "COMPLETED")
    said = sagahold(*printed("restore", backup), "--data-dir", data, SAGAHOLD_ENCRYPTION_KEY=KEY)
    assert "entries are intact" in said
    with pytest.raises(StackError, match="sagahold resume"), Stack(data, environ=ALONE):
        pass
    assert "sagas wait for an operator" in sagahold("resume", "--data-dir", data)

    with Stack(data, environ={**ALONE, **LOOPBACK}) as stack:
        copy = Copy(stack, scene)
        assert {id_ for id_, status in before.items() if pauses(scene, stack).get(id_) != status} == set()
        assert copy.post(f"/api/pause/{approved}/consume", scene.agent).json()["code"] == "APPROVAL_EXPIRED"
        # A reviewer of the copy decides again. Nothing runs before an operator has looked, either.
        for trace_id in (decided, quiet):
            approve_step(scene, copy.saga(trace_id), scene.reviewer, copy)
        waiting = {trace_id: copy.saga(trace_id) for trace_id in (decided, quiet, running)}
        assert {saga["error_details"]["code"] for saga in waiting.values() if saga["needs_operator"]} == {"STUCK"}
        span = waiting[quiet]["steps"][0]["step_span_id"]
        assert copy.post(f"/v1/sagas/{quiet}/steps/{span}/retry-step", scene.operator).status_code == 202
        until("the saga ends that had not gone on", lambda: copy.saga(quiet)["status"] == "COMPLETED")
        assert all(copy.saga(trace_id)["needs_operator"] for trace_id in (decided, running))
        assert copy.get(f"/v1/audit/verify?namespace={scene.namespace}&rows=true", scene.operator)["first_bad"] is None
    # The same after a recovery by PostgreSQL's own means.
    assert "entries are intact" in sagahold("restore", "--recovered", "--data-dir", data)
    assert "0 sagas wait" in sagahold("resume", "--nothing-ran", "--data-dir", data)
    assert [scene.ledger.entries(customer) for customer in ("decided", "quiet", "running")] == [["charge_once"]] * 3


def back_up_under_traffic(scene: SagaScene, backup: Path) -> dict[str, str]:
    """The pauses that were resolved before it began, with their statuses."""
    enough = threading.Event()
    traffic = [scene.start(scene.create_and_decide, enough) for _ in range(2)]
    try:
        until("there is traffic", lambda: scene.truth.count("pauses", "status = 'rejected'") >= 2)
        before = pauses(scene)
        said = sagahold(*printed("backup", backup), "--data-dir", scene.stack.data.path, SAGAHOLD_ENCRYPTION_KEY=KEY)
    finally:
        enough.set()
        for each in traffic:
            each.result()
    assert "SECRET:" in said
    assert KEY not in said
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup.rglob("*")} == {0o600}
    return before


def approve_step(scene: SagaScene, saga: dict[str, Any], by: httpx.Client, copy: Copy | None = None) -> None:
    path = f"/v1/sagas/{saga['trace_id']}/steps/{saga['steps'][0]['step_span_id']}/approve"
    answer = scene.insist(lambda: by.post(path, json={})) if copy is None else copy.post(path, by)
    assert answer.status_code == 202, answer.text


def pauses(scene: SagaScene, stack: Stack | None = None) -> dict[str, str]:
    """The status of each resolved pause."""
    kept, scene.truth._database_url = scene.truth._database_url, (stack or scene.stack).database_url
    try:
        rows = scene.truth.rows("SELECT id, status FROM pauses WHERE namespace = %s AND status <> 'pending'")
    finally:
        scene.truth._database_url = kept
    return {row["id"]: row["status"] for row in rows}


def refusal(*words: str | Path, **environ: str) -> str:
    """The error of a command that changes nothing. It runs in this process, because a start takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DATABASE_URL": "", **environ}.items():
            patch.setenv(name, value)
        with pytest.raises(click.ClickException) as raised:
            commands.main(list(map(str, words)), standalone_mode=False)
    return raised.value.format_message()


def check_refusals(scene: SagaScene, backup: Path, tmp_path: Path) -> None:
    url, nowhere = {"DATABASE_URL": scene.stack.database_url}, tmp_path / "nowhere"
    assert "is not empty" in refusal("backup", backup, **url)
    assert "has no database" in refusal("backup", nowhere, "--data-dir", nowhere)
    assert "no complete backup" in refusal("restore", tmp_path, **url)
    assert "SAGAHOLD_ENCRYPTION_KEY is not set" in refusal("restore", backup, **url)
    assert "not the one of the backup" in refusal("restore", backup, SAGAHOLD_ENCRYPTION_KEY="l" * 32, **url)
    assert "the database is not empty" in refusal("restore", backup, SAGAHOLD_ENCRYPTION_KEY=KEY, **url)
    assert "nothing to resume" in refusal("resume", **url)
    assert "give the DIR" in refusal("restore")
    damaged = shutil.copytree(backup, tmp_path / "damaged")
    with (damaged / "database.dump").open("ab") as file:
        file.write(b"x")
    assert "was changed" in refusal("restore", damaged, "--data-dir", nowhere)
    (damaged / "database.dump").unlink()
    assert "is missing" in refusal("restore", damaged, "--data-dir", nowhere)
    for name, value, said in (("revision", "0001", "restore it with the version"), ("rows", None, "is damaged")):
        changed = json.loads((backup / "manifest.json").read_text()) | {name: value}
        changed = {name: value for name, value in changed.items() if value is not None}
        (damaged / "manifest.json").write_text(json.dumps(changed))
        assert said in refusal("restore", damaged, "--data-dir", nowhere)
    assert not nowhere.exists()
    with pytest.raises(Failure, match=r"needs pg_dump 99 or newer, and .* only \d\d: install postgresql-client-99"):
        find("pg_dump", 99)
    with pytest.raises(Failure, match="this machine has none"):
        find("pg_no_such_program", 15)
