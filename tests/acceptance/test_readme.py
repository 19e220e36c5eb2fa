"""The README's lines, run exactly as printed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
AGENTS = (ROOT / "docs" / "agents.md").read_text()
NODE = shutil.which("node")
# A start of the interpreter, a request that waits, and a busy machine.
END_SECONDS = 120.0


def sample(text: str, language: str, start: str = "") -> str:
    """The first block of that language which begins so."""
    found = re.search(rf"^```{language}\n({re.escape(start)}.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_curl_lines(stack: Stack, tmp_path: Path) -> None:
    """Copied into a shell beside a running stack, they create a pause, approve it with an edit, and read it back."""
    section = README.split("## The same with curl")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / ".sagahold").symlink_to(stack.data.path)
    shell = subprocess.run(
        ["sh", "-euc", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert shell.returncode == 0, shell.stderr
    assert shell.stdout.count('"status":"approved"') == 2
    assert '"amount_cents":9900' in shell.stdout
    assert '"comment":"the shipping was not late"' in shell.stdout


def test_the_lines_that_use_an_approval(stack: Stack, reviewer: httpx.Client) -> None:
    """Those of docs/agents.md, in a shell with the variables that they name."""
    key = stack.credentials["agent_key"]
    agent = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"})
    watch_id, unused = (
        agent.post("/api/pause", json={"action": name}).json()["watchId"] for name in ("Refund", "Other")
    )
    for each in (watch_id, unused):
        reviewer.post(f"/api/pause/{each}/approve", json={}).raise_for_status()
    lines = sample(AGENTS.split("## Use the approval once")[1], "sh")
    named = {"SAGAHOLD_URL": stack.url, "SAGAHOLD_API_KEY": key, "WATCH_ID": watch_id}
    shell = subprocess.run(
        ["sh", "-euc", lines], env=os.environ | named, capture_output=True, text=True, timeout=120, check=False
    )
    assert shell.returncode == 0, shell.stderr
    used = agent.get(f"/api/pause/{watch_id}").json()["consumption"]
    assert (used["outcome"]["status"], used["outcome"]["result"]) == ("succeeded", {"id": "R-7"})
    listed = shell.stdout[shell.stdout.rindex('{"items"') :]
    assert unused in listed
    assert watch_id not in listed


@pytest.fixture
def reviewer(stack: Stack) -> httpx.Client:
    headers = {"Authorization": f"Bearer {stack.credentials['reviewer_key']}"}
    return httpx.Client(base_url=stack.url, headers=headers)


def run_sample(stack: Stack, reviewer: httpx.Client, command: Sequence[str], file: Path, verdict: str) -> str:
    """As printed but for the key and the port; what it prints once its pause has been decided."""
    key = stack.credentials["agent_key"]
    text = sample(README, *{".mjs": ["js"], ".py": ["python", "import httpx"]}[file.suffix])
    assert "hitl_your_api_key" in text
    file.write_text(text.replace("hitl_your_api_key", key).replace("http://127.0.0.1:8000", stack.url))
    listed = {"status": "pending", "q": "Deploy to production (v2.4.1)"}

    def pending() -> set[str]:
        return {each["watchId"] for each in reviewer.get("/api/pause", params=listed).json()["items"]}

    # Another test of the shared stack may have left the same action without a decision.
    before = pending()
    with subprocess.Popen([*command, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as agent:
        try:
            assert wait_until(lambda: bool(pending() - before), END_SECONDS)
            for watch_id in pending() - before:
                reviewer.post(f"/api/pause/{watch_id}/{verdict}", json={}).raise_for_status()
            printed, _ = agent.communicate(timeout=END_SECONDS)
        finally:
            agent.kill()
    assert agent.returncode == 0, printed
    return printed


def test_the_three_commonest_doors(stack: Stack, reviewer: httpx.Client, tmp_path: Path) -> None:
    """The function runs after its approval, the hook is installed and blocks, and the MCP line is that of its page."""
    (tmp_path / ".sagahold").symlink_to(stack.data.path)
    section = README.split("## Connect your agent")[1].split("\n## ")[0]
    names, mcp, hook = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "deploy.py").write_text(sample(section, "python"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = {"HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(tmp_path / "config"), "PATH": path}
    # Another test installs the wheel.
    home["PYTHONPATH"] = str(ROOT / "sdk" / "python" / "src")
    with subprocess.Popen(
        ["sh", "-euc", f"{names}{hook}{sys.executable} deploy.py"],
        cwd=tmp_path, env={**os.environ, **home}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as shell:  # fmt: skip
        try:
            approve(reviewer, "Deploy shop 2.4.1", shell)
            printed, _ = shell.communicate(timeout=END_SECONDS)
        finally:
            shell.kill()
    assert shell.returncode == 0, printed
    assert printed.endswith("deploying shop 2.4.1\n")
    assert "|| exit 2" in (tmp_path / ".claude" / "settings.json").read_text()
    assert mcp in (ROOT / "docs" / "doors" / "mcp.md").read_text()


def approve(reviewer: httpx.Client, action: str, process: "subprocess.Popen[str]") -> None:
    """Approve the pause with this action as soon as it is there."""

    def pending() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = reviewer.get("/api/pause", params={"status": "pending", "q": action}).json()[
            "items"
        ]
        return found

    assert wait_until(lambda: bool(pending()) or process.poll() is not None, END_SECONDS)
    assert process.poll() is None, process.stdout and process.stdout.read()
    (pause,) = pending()
    reviewer.post(f"/api/pause/{pause['watchId']}/approve", json={}).raise_for_status()


@pytest.mark.parametrize(
    ("verdict", "printed"),
    [("approve", "approved: deploying\n"), ("reject", "not approved: nothing is deployed\n")],
)
class TestSamples:
    """Saved to a file and run, they wait for a person and go on as that person says."""

    @pytest.mark.skipif(NODE is None and "CI" not in os.environ, reason="there is no Node.js on this machine")
    def test_javascript(self, stack: Stack, reviewer: httpx.Client, tmp_path: Path, verdict: str, printed: str) -> None:
        assert run_sample(stack, reviewer, [NODE or "node"], tmp_path / "agent.mjs", verdict) == printed

    def test_python(self, stack: Stack, reviewer: httpx.Client, tmp_path: Path, verdict: str, printed: str) -> None:
        assert run_sample(stack, reviewer, [sys.executable], tmp_path / "agent.py", verdict) == printed


def without_what_differs(document: dict[str, Any]) -> dict[str, Any]:
    """Without ids and times."""
    inner = {name: value for name, value in document.items() if not re.search(r"Id$|At$|By$", name)}
    return {name: without_what_differs(value) if isinstance(value, dict) else value for name, value in inner.items()}


def test_the_decided_pause_of_the_guide_is_a_real_one(stack: Stack, reviewer: httpx.Client) -> None:
    """The response in docs/agents.md is the one that the server gives."""
    printed = json.loads(sample(AGENTS, "json", '{\n  "watchId"'))
    key = stack.credentials["agent_key"]
    agent = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"})
    asked = printed["agentContext"] | {"arguments": {"order": 1042, "amount_cents": 12900}}
    watch_id = agent.post("/api/pause", json=asked).raise_for_status().json()["watchId"]
    said = {name: printed["decision"][name] for name in ("arguments", "comment")}
    reviewer.post(f"/api/pause/{watch_id}/approve", json=said).raise_for_status()
    answered = agent.get(f"/api/pause/{watch_id}").raise_for_status().json()
    decision = {name: answered["decision"][name] for name in printed["decision"]}
    shortened = {name: answered[name] for name in printed} | {"decision": decision}
    assert without_what_differs(shortened) == without_what_differs(printed)


def test_commands_exist() -> None:
    """Every `make` target and `sagahold` command that the README names is there."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert targets == {"dist", "demo", "up"}
    assert all(f"\n{target}: setup" in makefile for target in targets)
