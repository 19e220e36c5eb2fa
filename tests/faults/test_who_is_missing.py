"""Which process is missing is said by name: beat, one of several idle workers; and a web server's main process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from cli.devstack import Stack
from cli.devstack.ports import free_port
from cli.devstack.procfile import PROCFILE, read_procfile, shell_command
from tests.conftest import ROOT
from tests.faults.scene import ANSWER_WITHIN, until
from tests.faults.test_silence import answers
from tests.faults.test_workers import freeze


def checks(stack: Stack) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{stack.url}/readyz", timeout=ANSWER_WITHIN).json()["checks"]
    return {name: found.get(name) for name in ("workers", "beat")}


def test_a_frozen_beat_and_a_frozen_worker(fragile: Stack) -> None:
    """Each idle worker is seen by itself, whether there are sweeps or not."""
    added = [fragile.add("worker") for _ in range(2)]
    until("three work", lambda: checks(fragile) == {"workers": 3, "beat": True})
    frozen = [fragile.pid(name) for name in ("beat", added[0])]
    try:
        for pid in frozen:
            freeze(pid)
        until("both are missed", lambda: checks(fragile) == {"workers": 2, "beat": False})
        detail = httpx.get(f"{fragile.url}/readyz", timeout=ANSWER_WITHIN).json()["detail"]
        assert detail == "not ready: beat"
    finally:
        for pid in frozen:
            assert pid is not None
            os.kill(pid, signal.SIGCONT)
    until("three work", lambda: checks(fragile) == {"workers": 3, "beat": True})
    for name in added:
        fragile.stop_process(name)


def test_a_web_process_ends_with_its_main_process() -> None:
    """It would serve the port beside its successor."""
    port = free_port("127.0.0.1")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "SAGAHOLD_PORT": str(port),
        "SAGAHOLD_WEB_PROCESSES": "2",
    }
    command = shell_command(read_procfile(PROCFILE)["web"])
    web = psutil.Popen(command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: answers(port))
        children = web.children(recursive=True)
        assert len([child for child in children if child.is_running()]) >= 2
    finally:
        web.kill()
        web.wait(90)
    left = psutil.wait_procs(children, timeout=90)[1]
    for child in left:
        child.kill()
    assert not left
