"""`sagahold up` as a person runs it: the command in a terminal, and what it leaves behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli.devstack.waiting import wait_until

SAGAHOLD = Path(sys.executable).with_name("sagahold")
# The variables of a stack that runs around the tests are not those of the stacks under test.
ENVIRON = {
    name: value
    for name, value in os.environ.items()
    if name not in ("DATABASE_URL", "REDIS_URL") and not name.startswith("SAGAHOLD_")
}
# Several waits of a test may each take this long on a busy machine.
pytestmark = pytest.mark.timeout(600)
START_SECONDS = 150.0
# `up` promises that nothing runs 15 s after Ctrl-C or SIGTERM. A busy machine takes longer. Seconds.
STOP_SECONDS = 60.0
RESTART_SECONDS = 90.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run(data_dir: Path, port: int, **environ: str) -> "subprocess.CompletedProcess[str]":
    """For starts that fail at once."""
    command = [SAGAHOLD, "up", "--data-dir", str(data_dir), "--port", str(port)]
    return subprocess.run(command, env={**ENVIRON, **environ}, capture_output=True, text=True, timeout=START_SECONDS)


class Up:
    """A running `sagahold up`, its output so far, and every process that it was seen to have."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [SAGAHOLD, "up", "--data-dir", str(data_dir), "--port", str(self.port), *options],
            env=ENVIRON,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: self.ready() or self.process.poll() is not None, START_SECONDS)
        if not self.ready():
            self.process.kill()
            pytest.fail("\n".join(["not ready:", *self.lines]))
        self.family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def ready(self) -> bool:
        return any(line.startswith("Ready: ") for line in self.lines)

    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return found

    def api(self, key: str) -> httpx.Client:
        credentials = self.credentials()
        headers = {"Authorization": f"Bearer {credentials[f'{key}_key']}"}
        return httpx.Client(base_url=credentials["url"], headers=headers, timeout=10, trust_env=False)

    def healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def pid(self, *words: str) -> int | None:
        """The direct child whose command has these words."""
        for child in psutil.Process(self.process.pid).children():
            try:
                command = " ".join(child.cmdline())
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if all(word in command for word in words):
                return child.pid
        return None

    def survivors(self) -> list[psutil.Process]:
        return [process for process in self.family if process.is_running() and not _is_zombie(process)]

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        assert wait_until(lambda: self.process.poll() is not None and not self.survivors(), STOP_SECONDS), (
            self.survivors(),
            self.lines,
        )
        return self.process.wait()


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data")
    yield running
    running.stop(signal.SIGTERM)


def test_it_says_where_it_is_and_keeps_the_keys_to_its_owner(up: Up) -> None:
    assert f"Ready: http://127.0.0.1:{up.port}" in up.lines
    file = up.data_dir / "credentials.json"
    assert set(up.credentials()) == {"url", "agent_key", "reviewer_key", "operator_key", "admin_key"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert up.data_dir.stat().st_mode & 0o777 == 0o700


def test_its_owner_signs_in_by_the_link_that_it_prints(up: Up) -> None:
    """Which is good once."""
    assert wait_until(lambda: any(line.startswith("Sign in: ") for line in up.lines), START_SECONDS)
    (link,) = [line.removeprefix("Sign in: ") for line in up.lines if line.startswith("Sign in: ")]
    assert link.startswith(f"http://127.0.0.1:{up.port}/sign-in/link/")
    with httpx.Client(trust_env=False) as browser:
        token = re.search(r'name="csrf_token" value="(\w+)"', browser.get(link).text)
        assert token is not None
        assert browser.post(link, data={"csrf_token": token[1]}).status_code == 303
        assert "owner@localhost" in browser.get(f"http://127.0.0.1:{up.port}/account").text
    assert httpx.get(link, trust_env=False).status_code == 404


@pytest.mark.parametrize("role", ["agent", "reviewer", "operator", "admin"])
def test_each_first_key_opens_the_door(up: Up, role: str) -> None:
    with up.api(role) as api:
        assert api.get("/api/pause").status_code == 200


def test_the_first_visitor_finds_one_sample_pause_and_one_held_sample_saga(up: Up) -> None:
    found: list[dict[str, Any]] = []

    def both() -> bool:
        with up.api("reviewer") as api:
            found[:] = api.get("/api/pause", params={"status": "pending"}).json()["items"]
        return len(found) == 2

    assert wait_until(both, RESTART_SECONDS), (found, up.lines)
    step, pause = found
    assert (pause["kind"], pause["tags"]) == ("agent", ["sample"])
    assert step["kind"] == "step"
    assert all(each["agentContext"]["action"].startswith("Sample: ") for each in found)
    with up.api("operator") as api:
        (saga,) = api.get("/v1/sagas").json()["items"]
        span = step["agentContext"]["context"]["step_span_id"]
        api.post(f"/v1/sagas/{saga['trace_id']}/steps/{span}/approve", json={}).raise_for_status()
        assert wait_until(lambda: api.get(f"/v1/sagas/{saga['trace_id']}").json()["ended_at"], RESTART_SECONDS)
        assert api.get(f"/v1/sagas/{saga['trace_id']}").json()["status"] == "COMPLETED"
    assert (up.data_dir / "sample-ledger.db").exists()


def test_a_second_one_on_the_same_directory_is_refused(up: Up) -> None:
    second = run(up.data_dir, free_port())
    assert second.returncode == 2
    assert second.stderr.splitlines() == [
        f"sagahold: another `sagahold up` (pid {up.process.pid}) uses {up.data_dir}: "
        "stop it, or choose another --data-dir"
    ]


def test_a_port_in_use_is_refused(up: Up, tmp_path: Path) -> None:
    second = run(tmp_path / "data", up.port)
    assert second.returncode == 2
    assert re.fullmatch(rf"sagahold: cannot listen on 127.0.0.1 port {up.port}: .*--port\n", second.stderr)


@pytest.mark.parametrize(
    ("name", "words"), [("web", ["granian"]), ("worker", ["celery", " worker"]), ("beat", ["celery", " beat"])]
)
def test_a_killed_process_is_restarted_with_a_line(up: Up, name: str, words: list[str]) -> None:
    before = up.pid(*words)
    assert before is not None, up.lines
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: up.pid(*words) not in (None, before), RESTART_SECONDS), up.lines
    assert wait_until(up.healthy, RESTART_SECONDS)
    assert any(line.startswith(f"{name} ended (killed by SIGKILL), restarting in ") for line in up.lines)
    up.family += psutil.Process(up.process.pid).children(recursive=True)


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL"])
def test_a_server_that_is_not_there_is_named_at_once(tmp_path: Path, variable: str) -> None:
    scheme = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis"}[variable]
    absent = run(tmp_path / "data", free_port(), **{variable: f"{scheme}://127.0.0.1:{free_port()}/0"})
    assert absent.returncode == 2
    (line,) = absent.stderr.splitlines()
    assert line.startswith(f"sagahold: {variable}: ")
    assert line.endswith("Connection refused: start it, or correct " + variable)
    assert list((tmp_path / "data" / "logs").iterdir()) == []


def test_the_release_says_in_one_line_what_is_wrong_with_its_settings() -> None:
    command = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"]
    release = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=START_SECONDS)
    assert (release.returncode, release.stderr.splitlines()[-1:]) == (
        2,
        ["sagahold: DATABASE_URL is not set (`sagahold up` starts a stack that sets it)"],
    )
    assert "Traceback" not in release.stderr


def test_a_bad_setting_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    bad = run(tmp_path / "data", free_port(), SAGAHOLD_LOG_LEVEL="loud")
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith("sagahold: SAGAHOLD_LOG_LEVEL: 'loud'")
    assert len(bad.stderr.splitlines()) == 1
    assert not (tmp_path / "data" / "pg").exists()


def test_data_and_keys_outlive_every_kind_of_end(tmp_path: Path) -> None:
    """SIGTERM, kill -9 of `up` alone, Ctrl-C: nothing of it runs afterwards, and the next start has it all."""
    # Too long for a socket, as a project somewhere below a home directory may be.
    data_dir = tmp_path / ("a rather long name, " * 6)
    seen = []
    watch_id = ""
    made = []
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        # Without samples the first time; later there is something, so none come either.
        up = Up(data_dir, *([] if made else ["--no-sample"]))
        try:
            with up.api("agent") as api:
                made.append(len(api.get("/api/pause").json()["items"]))
                watch_id = watch_id or api.post("/api/pause", json={"action": "restart the stack"}).json()["watchId"]
                seen.append((api.get(f"/api/pause/{watch_id}").json()["status"], keys(up)))
        finally:
            status = up.stop(number)
        assert status == (-signal.SIGKILL if number is signal.SIGKILL else 0), up.lines
    assert seen == [("pending", seen[0][1])] * 3
    assert made == [0, 1, 1]


def keys(up: Up) -> dict[str, str]:
    return {name: value for name, value in up.credentials().items() if name.endswith("_key")}
