"""The quick start of docs/doors/claude-code.md, its rules, and the plugin."""

import json
import os
import re
import subprocess
from pathlib import Path

from cli.hook.rules import Do, load
from tests.acceptance.commands import SAGAHOLD
from tests.clients.claude_hook.driver import Hook
from tests.clients.desk import Desk

ROOT = Path(__file__).parents[3]
MANUAL = (ROOT / "docs" / "doors" / "claude-code.md").read_text()
CHECKS = ["installed", "rules", "server down", "wrong", "bad key", "bad event", "no program", "asks"]
PLUGIN = ROOT / "integrations" / "claude-code-plugin"


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_quick_start_runs_as_printed(desk: Desk, hook: Hook) -> None:
    path = f"{SAGAHOLD.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-euc", block("sh")],
        env={**hook.environ, "PATH": path},
        cwd=hook.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    checks = dict(re.findall(r"^✔ (.{12})(.*)$", ran.stdout, re.MULTILINE))
    assert [name.strip() for name in checks] == CHECKS, ran.stdout
    assert "cannot reach http://127.0.0.1:" in checks["server down "]
    assert "UNAUTHENTICATED" in checks["bad key     "]
    assert [pause["status"] for pause in desk.all()] == ["cancelled"]
    installed = json.loads((hook.project / ".claude" / "settings.json").read_text())
    assert json.loads((PLUGIN / "hooks" / "hooks.json").read_text())["hooks"] == installed["hooks"]


def test_the_rules_of_the_manual(tmp_path: Path) -> None:
    (tmp_path / "sagahold.toml").write_text(block("toml"))
    rules = load(tmp_path / "sagahold.toml")
    assert rules.of("Bash", {"command": "npm test"}, "/").do is Do.PASS
    assert rules.of("Bash", {"command": "terraform apply -auto-approve"}, "/").review == {"approvals": 2}
    assert rules.of("mcp__production__drop", {}, "/").do is Do.REFUSE


def test_the_plugin_has_the_parts_that_claude_code_reads() -> None:
    assert json.loads((PLUGIN / ".claude-plugin" / "plugin.json").read_text())["name"] == "sagahold"
    (server,) = json.loads((PLUGIN / ".mcp.json").read_text())["mcpServers"].values()
    assert server["url"] == "${SAGAHOLD_URL}/mcp"
