"""An upgrade under load, and back by one release: both serve side by side, and no request fails.

The release before is the code before the newest migration, from git's history. A shallow clone has none: there, the
release after is this code with one more migration.
"""

import shutil
import subprocess
import tarfile
import threading
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from cli.devstack import Stack
from cli.devstack.readiness import ReadinessProbe
from tests.conftest import ALONE, ROOT
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import ANSWER_WITHIN, PATIENCE, PROCESSES, until
from tests.faults.slow_ledger import AFTER

NEXT = '''"""The next release's."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"
branch_labels = depends_on = None


def upgrade():
    op.add_column("pauses", sa.Column("of_the_next_release", sa.Text))
    op.add_column("sagas", sa.Column("of_the_next_release", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_table("of_the_next_release", sa.Column("id", sa.Uuid, primary_key=True))
'''
# Clients at once. Each pause of theirs is five requests.
CLIENTS = 2
# Seconds between two pauses of a client, so that the starts of the stacks get most of the processor.
PACE = 0.5
# Pauses that are completed in each phase of the upgrade.
ROUNDS = 5


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False).stdout


def two_releases(folder: Path) -> tuple[Path, Path]:
    """The directories of two releases. One migration lies between them."""
    newest = max((ROOT / "migrations/versions").glob("[0-9]*.py"))
    added = git("log", "--diff-filter=A", "-1", "--format=%H", "--", str(newest)).decode().strip()
    if added and (before := git("rev-parse", "--verify", "--quiet", f"{added}^").decode().strip()):
        with tarfile.open(fileobj=BytesIO(git("archive", before))) as archive:
            archive.extractall(folder, filter="data")
        return folder, ROOT
    shutil.copytree(ROOT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "node_modules", "tests"))
    (folder / "migrations/versions/9999_next.py").write_text(NEXT.format(head=newest.name[:4]))
    return ROOT, folder


class Load:
    """Clients of a load balancer: they create pauses, wait, decide, use the approvals and report their outcomes.

    Attributes:
        urls: of the web processes that get new requests.
        failed: requests without an answer, and answers of 5xx.
        done: watch ids of the pauses that were used.
    """

    def __init__(self, scene: SagaScene, url: str) -> None:
        self.scene, self.urls = scene, [url]
        self._under_way: Counter[str] = Counter()
        self._choice = threading.Lock()
        self.requests = 0
        self.failed: list[str] = []
        self.accepted: list[str] = []
        self.done: list[str] = []
        self._enough = threading.Event()
        self._clients = [scene.start(self._run) for _ in range(CLIENTS)]

    def send(self, by: httpx.Client, method: str, path: str, **body: Any) -> httpx.Response:
        with self._choice:
            url = self.urls[self.requests % len(self.urls)]
            self.requests += 1
            self._under_way[url] += 1
        headers = {**by.headers, "Idempotency-Key": uuid4().hex}
        sent = {"json": body} if method == "POST" else {"params": body}
        try:
            answer = httpx.request(
                method, f"{url}{path}", headers=headers, trust_env=False, timeout=ANSWER_WITHIN, **sent
            )
        except httpx.TransportError as error:
            self.failed.append(f"{method} {url}{path}: {error!r}")
            raise
        finally:
            with self._choice:
                self._under_way[url] -= 1
        if answer.status_code >= 500:
            self.failed.append(f"{method} {url}{path}: {answer.status_code} {answer.text}")
        assert answer.status_code < 400, answer.text
        return answer

    def _run(self) -> None:
        agent, reviewer = self.scene.agent, self.scene.reviewer
        while not self._enough.is_set():
            made = self.send(agent, "POST", "/api/pause", action="deploy", arguments={"n": len(self.done)}).json()
            self.accepted.append(id_ := made["watchId"])
            waiting = self.scene.start(self.send, agent, "GET", f"/api/pause/{id_}", wait=10)
            self.send(reviewer, "POST", f"/api/pause/{id_}/approve")
            assert waiting.result().json()["status"] == "approved"
            self.send(agent, "POST", f"/api/pause/{id_}/consume", argumentsDigest=made["argumentsDigest"])
            self.send(agent, "POST", f"/api/pause/{id_}/outcome", status="succeeded")
            self.done.append(id_)
            self._enough.wait(PACE)

    def serve_by(self, *urls: str) -> None:
        """Send new requests there, and wait for those of the others, as load balancers do before a process stops."""
        with self._choice:
            self.urls = list(urls)
        until("other requests end", lambda: self._serving() <= set(urls))

    def _serving(self) -> set[str]:
        with self._choice:
            return {url for url, count in self._under_way.items() if count}

    def more(self, what: str) -> None:
        """Wait until the clients have completed a phase."""
        wanted = len(self.done) + ROUNDS * len(self.urls)
        until(f"the load goes on with {what}: {self.failed}", lambda: len(self.done) >= wanted or bool(self.failed))
        assert self.failed == []

    def stop(self) -> None:
        self._enough.set()
        for client in self._clients:
            client.result()

    def saga(self, trace_id: str) -> Any:
        return self.send(self.scene.operator, "GET", f"/v1/sagas/{trace_id}").json()

    def approve(self, trace_id: str) -> None:
        """Approve the held step, and wait until the saga ends."""
        span = self.saga(trace_id)["steps"][0]["step_span_id"]
        self.send(self.scene.reviewer, "POST", f"/v1/sagas/{trace_id}/steps/{span}/approve")
        until("the saga ends", lambda: self.saga(trace_id)["status"] == "COMPLETED", PATIENCE)

    def held(self, customer: str) -> str:
        """A new saga whose step is held."""
        wanted = {"name": "held", "version": "1", "input": {"customer": customer}}
        trace_id = str(self.send(self.scene.agent, "POST", "/v1/sagas/start", **wanted).json()["trace_id"])
        until("the step is held", lambda: self.saga(trace_id)["status"] == "AWAITING_HUMAN", PATIENCE)
        return trace_id


def revision(scene: SagaScene) -> str:
    return str(scene.truth.rows("SELECT version_num, %s AS of FROM alembic_version")[0]["version_num"])


def test_upgrade_and_back_loses_nothing_and_fails_no_request(tmp_path: Path) -> None:
    """It takes more than 20 s: two whole stacks start, of two releases on one database."""
    old, new = two_releases(tmp_path / "release")
    # A worker's name is locked here. Two directories would be two machines with one name.
    both = {**ALONE, "SAGAHOLD_RUN_DIR": str(tmp_path / "run")}
    environ = {**both, "PYTHONPATH": str(old)}
    with (
        Stack(tmp_path / "old", environ=environ, procfile=old / "Procfile") as before,
        SagaScene(before) as scene,
    ):
        first = revision(scene)
        scene.deploy_saga("free", step("one", "charge_once", **undo("reverse")))
        scene.deploy_saga("held", step("one", "charge_once", hitl=True, **undo("reverse")))
        load = Load(scene, before.url)
        rows = {name: load.held(name) for name in ("side by side", "after", "back")}
        scene.ledger.hold("running", "charge_once", AFTER)
        running = scene.start_saga("free", customer="running")
        until("it is called", lambda: bool(scene.ledger.calls("running", "charge_once", AFTER)))
        load.more("the old release")

        servers = {"DATABASE_URL": before.database_url, "REDIS_URL": before.redis_url}
        environ = {**both, **servers, "PYTHONPATH": str(new)}
        with Stack(tmp_path / "new", environ=environ, procfile=new / "Procfile") as after:
            assert revision(scene) != first
            served = {Path(psutil.Process(stack.pid("web")).cwd()) for stack in (before, after)}
            assert served == {old.resolve(), new.resolve()}
            load.serve_by(before.url, after.url)
            load.more("both releases")
            load.approve(rows["side by side"])
            scene.ledger.release()
            until("its call ends", lambda: load.saga(running)["status"] == "COMPLETED")

            load.serve_by(after.url)
            for name in PROCESSES:
                before.stop_process(name)
            load.more("the new release")
            load.approve(rows["after"])
            rows["new"] = load.held("new")

            for name in PROCESSES:
                before.start_process(name)
            until("the old release serves again", ReadinessProbe(before.url).look)
            load.serve_by(before.url)
        load.more("the old release on the new schema")
        for name in ("back", "new"):
            load.approve(rows[name])
        load.stop()
        check(scene, load, [*rows, "running"])


def check(scene: SagaScene, load: Load, customers: list[str]) -> None:
    """Each pause is stored with its outcome, each saga has made its call once, and the log is whole."""
    stored = {
        row["id"].replace("-", "")
        for row in scene.truth.rows("SELECT id FROM pauses WHERE namespace = %s AND outcome_status = 'succeeded'")
    }
    lost = [id_ for id_ in load.accepted if id_.removeprefix("wch_") not in stored]
    print(f"{load.requests} requests, {len(load.failed)} failed; {len(load.accepted)} pauses, {len(lost)} lost")
    assert (lost, load.failed) == ([], [])
    assert {name: scene.ledger.entries(name) for name in customers} == {name: ["charge_once"] for name in customers}
    verdict = load.send(scene.operator, "GET", "/v1/audit/verify", namespace=scene.namespace, rows="true").json()
    assert (verdict["first_bad"], verdict["rows"]["first_bad"]) == (None, None)
    until("webhooks are delivered", lambda: scene.truth.count("webhook_deliveries", "status <> 'delivered'") == 0)
