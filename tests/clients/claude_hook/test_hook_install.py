"""`sagahold hook install` changes only its own part of the settings; `sagahold hook doctor` proves that it blocks."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.check import Check
from cli.hook.checks import installed
from cli.hook.settings import text as written
from cli.hook.settings import with_hook
from tests.acceptance.commands import SAGAHOLD, Ran, finish
from tests.clients.claude_hook.driver import Hook, event

OTHER = {
    "$schema": "https://json.schemastore.org/claude-code-settings.json",
    "permissions": {"deny": ["Bash(curl *)"]},
    "hooks": {
        "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "lint.sh"}]}],
        "Stop": [{"hooks": [{"type": "command", "command": "é.sh"}]}],
    },
}
EVENTS = ("PreToolUse", "PostToolUse", "PostToolUseFailure")
Install = Callable[..., Ran]


def sagahold(hook: Hook, *args: str, **environ: str) -> Ran:
    started = subprocess.Popen(
        [SAGAHOLD, *args],
        **{"env": {**hook.environ, **environ}, "cwd": hook.project, "text": True},
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )
    return finish(started)


@pytest.fixture
def settings(offline: Hook) -> Path:
    return offline.project / ".claude" / "settings.json"


def commands(settings: Path) -> dict[str, list[Any]]:
    hooks = json.loads(settings.read_text())["hooks"]
    return {name: [entry for group in groups for entry in group["hooks"]] for name, groups in hooks.items()}


def test_a_new_project(offline: Hook, settings: Path) -> None:
    ran = sagahold(offline, "hook", "install")
    assert ran.code == 0
    entry = {"type": "command", "command": f"{SAGAHOLD} hook claude --timeout 600 || exit 2", "timeout": 600}
    assert commands(settings) == {name: [entry] for name in EVENTS}
    assert '+        "matcher": "*",' in ran.out
    rules = settings.with_name("sagahold.toml")
    assert 'do = "pass"' in rules.read_text()
    rules.write_text("# mine")
    before = settings.stat().st_mtime_ns
    assert "nothing to change" in sagahold(offline, "hook", "install").out
    assert (settings.stat().st_mtime_ns, rules.read_text()) == (before, "# mine")


def test_the_rest_of_the_settings_stays(offline: Hook, settings: Path) -> None:
    original = json.dumps(OTHER, indent=2, ensure_ascii=False) + "\n"
    settings.write_text(original)
    settings.chmod(0o600)
    assert sagahold(offline, "hook", "install", "--dry-run").code == 0
    assert settings.read_text() == original
    assert sagahold(offline, "hook", "install", "--permission-requests").code == 0
    assert commands(settings)["PreToolUse"][0]["command"] == "lint.sh"
    assert set(commands(settings)) == {*EVENTS, "PermissionRequest", "Stop"}
    # Another timeout replaces the earlier hook.
    assert sagahold(offline, "hook", "install", "--timeout", "3600", "--defer").code == 0
    assert [each["timeout"] for each in commands(settings)["PostToolUse"]] == [3600]
    assert "hook claude --timeout 3600 --defer || exit 2" in commands(settings)["PreToolUse"][1]["command"]
    assert "PermissionRequest" not in commands(settings)
    assert settings.stat().st_mode & 0o777 == 0o600
    assert sagahold(offline, "hook", "install", "--remove").code == 0
    assert settings.read_text() == original
    assert "nothing to change" in sagahold(offline, "hook", "install", "--remove").out


def test_the_settings_of_the_user_and_the_name_on_the_path(offline: Hook) -> None:
    path = f"{SAGAHOLD.parent}{os.pathsep}{os.environ['PATH']}"
    assert sagahold(offline, "hook", "install", "--user", PATH=path).code == 0
    file = offline.home / ".claude" / "settings.json"
    assert commands(file)["PreToolUse"][0]["command"] == "sagahold hook claude --timeout 600 || exit 2"
    assert file.with_name("sagahold.toml").exists()


@pytest.mark.parametrize(
    "text",
    ["{", "// a comment\n{}", '{"hooks": {"PreToolUse": {}}}', '{"a": 1, "a": 2}', '"x"', '{"disableAllHooks": true}'],
)
def test_a_file_that_it_does_not_understand_stays(offline: Hook, settings: Path, text: str) -> None:
    settings.write_text(text)
    ran = sagahold(offline, "hook", "install")
    assert ran.code == 1
    assert str(settings) in ran.error
    assert settings.read_text() == text
    assert not settings.with_name("sagahold.toml").exists()


def test_the_installed_command_blocks_if_the_program_is_missing_or_killed(offline: Hook, settings: Path) -> None:
    sagahold(offline, "hook", "install")
    command = commands(settings)["PreToolUse"][0]["command"]
    for program in ("/nowhere/sagahold", "sh -c 'kill -9 $$'"):
        broken = command.replace(str(SAGAHOLD), program)
        ran = subprocess.run(["sh", "-c", broken], input=json.dumps(event()), text=True, capture_output=True)
        assert ran.returncode == 2


def test_the_doctor_finds_what_would_let_a_tool_run(offline: Hook, settings: Path) -> None:
    sagahold(offline, "hook", "install")
    settings.write_text(settings.read_text().replace(" || exit 2", ""))
    settings.with_name("sagahold.toml").write_text("nonsense")
    ran = sagahold(offline, "hook", "doctor", "--json")
    assert ran.code == 1
    wrong = {check["name"]: check["said"] for check in json.loads(ran.out) if not check["good"]}
    assert set(wrong) == {"rules", "no program", "asks"}
    assert "exit status 127 lets the tool run" in wrong["no program"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hook claude", "another", "not for PreToolUse, PostToolUse, PostToolUseFailure"),
        ('"matcher": "*"', '"matcher": "Bash"', "only for the tools Bash"),
        ('"timeout": 600', '"timeout": 30', "with the timeout 30, which is shorter"),
        (" --timeout 600", " --timeout 601", "with the timeout 600, which is shorter"),
        (',\n            "timeout": 600', "", "with the timeout None"),
        ('"type": "command"', '"type": "command", "async": true', "with the setting async"),
        ('"type": "command"', '"type": "command", "if": "Bash(git *)"', "with the setting if"),
    ],
)
def test_the_doctor_sees_an_entry_that_lets_calls_pass(
    settings: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    monkeypatch.chdir(settings.parents[1])
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(settings.parents[2]))
    command = "sagahold hook claude --timeout 600 || exit 2"
    text = written(with_hook({}, command, 600, permissions=False))
    settings.write_text(text)
    assert installed() == (command, Check("installed", True, f"in {settings}"))
    assert old in text
    settings.write_text(text.replace(old, new))
    assert said in installed()[1].said


def test_the_doctor_sees_hooks_that_are_switched_off(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(settings.parents[1])
    settings.write_text(written(with_hook({}, "sagahold hook claude || exit 2", 600, permissions=False)))
    settings.with_name("settings.local.json").write_text('{"disableAllHooks": true}')
    assert "settings.local.json has disableAllHooks" in installed()[1].said
