"""The JavaScript sample that Sagahold was made after runs against it, with another host and another key and no other
change."""

import hashlib
import os
import shutil
import subprocess
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cli.devstack import Stack

SAMPLE = Path(__file__).with_name("seed_sample.mjs")
# The hash of the sample's lines as published.
PUBLISHED = "996f2adf78bd34058754991999a348e936a987e7f88a7c059f27e06aadd2f70e"
HOST, KEY = "https://hitl.ambedo.dev", "hitl_your_api_key"
# The parts that the sample leaves to its reader. `sleep` shows that the agent found no decision yet.
OURS = """
const sleep = ms => { console.log(`sleeps ${ms}`); return new Promise(done => setTimeout(done, 20)); };
const continueWithDeploy = () => console.log("continues");
const abortDeploy = () => console.log("aborts");
"""
END_SECONDS = 120.0


def test_the_sample_is_as_it_was_published() -> None:
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest() == PUBLISHED


@pytest.mark.parametrize(("verb", "ending"), [("approve", "continues"), ("reject", "aborts")])
def test_the_published_agent_does_what_was_decided(
    stack: Stack, client_for: Callable[..., httpx.Client], tmp_path: Path, verb: str, ending: str
) -> None:
    """It posts, polls while nothing is decided, and then goes on or not, as the reviewer said."""
    node = shutil.which("node")
    if node is None:
        assert not os.environ.get("CI"), "CI needs Node to run the JavaScript sample"
        warnings.warn("the JavaScript sample was not run: there is no node on PATH", stacklevel=1)
        return
    agent, reviewer = client_for("agent"), client_for("reviewer")
    key = agent.headers["Authorization"].removeprefix("Bearer ")
    script = tmp_path / "sample.mjs"
    script.write_text(OURS + SAMPLE.read_text().replace(HOST, stack.url).replace(KEY, key))
    with subprocess.Popen([node, script], stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(END_SECONDS, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeps 3000\n"
        (waiting,) = reviewer.get("/api/pause", params={"status": "pending"}).json()["items"]
        assert waiting["agentContext"]["action"] == "Deploy to production (v2.4.1)"
        assert waiting["agentContext"]["context"] == {"environment": "prod", "commit": "a3f9b2e"}
        reviewer.post(f"/api/pause/{waiting['watchId']}/{verb}").raise_for_status()
        said = process.stdout.read().split("\n")
        watchdog.cancel()
    assert process.returncode == 0
    assert [line for line in said if not line.startswith("sleeps")] == [ending, ""]
