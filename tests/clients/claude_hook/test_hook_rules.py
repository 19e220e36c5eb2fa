"""The rules file says which calls pass, which are held and which are refused."""

from pathlib import Path
from typing import Any

import pytest

from cli.hook.own_files import find_own_files
from cli.hook.rules import STARTER, Do, Rule, Rules, load, strictest
from tests.clients.claude_hook.driver import Hook, event

RULES = """
[[rule]]
tool = ["Read", "mcp__docs__*"]
do = "pass"

[[rule]]
tool = "Bash"
command = 'rm -rf'
do = "refuse"
reason = "use git clean"

[[rule]]
tool = "Bash"
command = 'npm (test|run lint)( .*)?'
do = "pass"

[[rule]]
tool = "Bash"
command = 'make .*'
compound = true
do = "pass"

[[rule]]
tool = "Write"
path = '/home/ann/shop/docs/.*'
do = "pass"

[[rule]]
tool = "Edit"
path = '/secrets/'
do = "refuse"

[[rule]]
tool = "Edit"
do = "pass"

[[rule]]
tool = "Bash"
command = 'terraform apply'
do = "hold"
review = {approvals = 2}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    file = tmp_path / "sagahold.toml"
    file.write_text(RULES)
    return load(file)


@pytest.mark.parametrize(
    ("tool", "arguments", "do"),
    [
        ("Read", {"file_path": "/etc/hosts"}, Do.PASS),
        ("mcp__docs__search", {}, Do.PASS),
        ("mcp__docs", {}, Do.HOLD),
        ("read", {"file_path": "/etc/hosts"}, Do.HOLD),
        ("ReadAll", {}, Do.HOLD),
        ("WebFetch", {"url": "https://x"}, Do.HOLD),
        ("Bash", {"command": "npm test"}, Do.PASS),
        ("Bash", {"command": "npm test -- --watch"}, Do.PASS),
        ("Bash", {"command": "npm publish"}, Do.HOLD),
        ("Bash", {"command": "npm test; curl x"}, Do.HOLD),
        ("Bash", {"command": "npm test && curl x"}, Do.HOLD),
        ("Bash", {"command": "npm test & curl x"}, Do.HOLD),
        ("Bash", {"command": "npm test | sh"}, Do.HOLD),
        ("Bash", {"command": "npm test > /etc/hosts"}, Do.HOLD),
        ("Bash", {"command": "npm test < /etc/hosts"}, Do.HOLD),
        ("Bash", {"command": "npm test `curl x`"}, Do.HOLD),
        ("Bash", {"command": "npm test $(curl x)"}, Do.HOLD),
        ("Bash", {"command": "npm test =(curl x)"}, Do.HOLD),
        ("Bash", {"command": "npm test *(e'[curl x]')"}, Do.HOLD),
        ("Bash", {"command": "npm test\ncurl x"}, Do.HOLD),
        ("Bash", {"command": "curl x\nnpm test"}, Do.HOLD),
        ("Bash", {"command": "npm test\n"}, Do.HOLD),
        ("Bash", {"command": "sudo npm test"}, Do.HOLD),
        ("Bash", {"command": "make a && make b"}, Do.PASS),
        ("Bash", {"command": "make a\ncurl x"}, Do.HOLD),
        ("Bash", {"command": "cd x\nrm -rf ."}, Do.REFUSE),
        ("Bash", {"command": "npm test; rm -rf ."}, Do.REFUSE),
        ("Bash", {"command": ["npm test"]}, Do.HOLD),
        ("Bash", {}, Do.HOLD),
        ("Write", {"file_path": "/home/ann/shop/docs/a.md"}, Do.PASS),
        ("Write", {"file_path": "docs/a.md"}, Do.PASS),
        ("Write", {"file_path": "/home/ann/shop/docs/../.env"}, Do.HOLD),
        ("Write", {"file_path": "/home/ann/shop/docs/a.md", "path": "/etc/hosts"}, Do.HOLD),
        ("Write", {"file_path": 7}, Do.HOLD),
        ("Write", {}, Do.HOLD),
        ("Edit", {"file_path": "/secrets/a"}, Do.REFUSE),
        ("Edit", {"file_path": "/secrets/a", "path": "/tmp/a"}, Do.REFUSE),
        ("Edit", {"file_path": "/tmp/a"}, Do.PASS),
    ],
)
def test_the_first_rule_that_names_a_call_counts(rules: Rules, tool: str, arguments: dict[str, Any], do: Do) -> None:
    assert rules.of(tool, arguments, "/home/ann/shop").do is do


def test_a_link_does_not_lead_out_of_a_folder_that_passes(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "docs").mkdir()
    (folder / "docs" / "link").symlink_to("/etc/hosts")
    (folder / "rules.toml").write_text(f"[[rule]]\ntool = 'Write'\npath = '{folder}/docs/.*'\ndo = 'pass'\n")
    rules = load(folder / "rules.toml")
    assert rules.of("Write", {"file_path": "docs/new"}, str(folder)).do is Do.PASS
    assert rules.of("Write", {"file_path": "docs/link"}, str(folder)).do is Do.HOLD


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("Edit", {"file_path": ".claude/sagahold.toml"}),
        ("MultiEdit", {"file_path": "src/../.claude/settings.json", "edits": []}),
        ("Write", {"file_path": ".claude/settings.local.json"}),
        ("Write", {"file_path": ".Claude/Settings.json"}),
        ("Read", {"file_path": ".sagahold/credentials.json"}),
        ("NotebookEdit", {"notebook_path": "data/credentials.json"}),
        # The names of links, and what they lead to.
        ("Write", {"file_path": "link/settings.json"}),
        ("Write", {"file_path": "user/settings.json"}),
        ("Write", {"file_path": "dotfiles/claude.json"}),
        ("Write", {"file_path": "rules.toml"}),
        ("Write", {"file_path": "state/sagahold-hook/x.json"}),
        ("mcp__files__move", {"source": "a", "destination": ".claude/settings.json"}),
        ("mcp__files__read", {"files": [{"name": "data/credentials.json"}]}),
        ("Grep", {"pattern": "hitl_"}),
        ("Grep", {"pattern": "hitl_", "path": ".."}),
        ("Grep", {"pattern": "hitl_", "path": "data", "glob": "*"}),
    ],
)
def test_no_rule_passes_the_files_of_the_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, arguments: dict[str, Any]
) -> None:
    project = tmp_path / "project"
    for folder in (".claude", "data", "dotfiles", "src", "user"):
        (project / folder).mkdir(parents=True)
    (project / "data" / "credentials.json").touch()
    (project / "link").symlink_to(".claude")
    (project / "user" / "settings.json").symlink_to("../dotfiles/claude.json")
    (project / "rules.toml").write_text('[[rule]]\ntool = "*"\ndo = "pass"\n')
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    own = find_own_files(project, project / "user", project / "rules.toml", project / "data")
    rules = [load(project / "rules.toml")]
    assert strictest(rules, tool, arguments, str(project), own).do is Do.HOLD
    for other in ({"path": "src", "content": "a\0b"}, {"path": "src/settings.json", "list": [1, None]}):
        assert strictest(rules, tool, other, str(project), own).do is Do.PASS


def test_the_stricter_file_counts() -> None:
    passes, refuses = Rules((Rule(do=Do.PASS),)), Rules(default=Rule(do=Do.REFUSE))
    assert strictest([], "Bash", {}, "/").do is Do.HOLD
    assert strictest([passes], "Bash", {}, "/").do is Do.PASS
    assert strictest([passes, Rules()], "Bash", {}, "/").do is Do.HOLD
    assert strictest([Rules(), refuses, passes], "Bash", {}, "/").do is Do.REFUSE
    # Equally strict files count together.
    one, two = Rules((Rule(expires_in=60),)), Rules((Rule(review={"approvals": 2}, expires_in=90, defer=True),))
    both = strictest([Rules(), one, two], "Bash", {}, "/")
    assert (both.review, both.expires_in, both.defer) == ({"approvals": 2}, 60, True)
    assert strictest([Rules((Rule(review={"approvals": 3}),)), two], "Bash", {}, "/").review == {"approvals": 3}


def test_the_first_rules_of_a_project(tmp_path: Path) -> None:
    (tmp_path / "sagahold.toml").write_text(STARTER)
    rules = load(tmp_path / "sagahold.toml")
    passing = {"Read": {}, "AskUserQuestion": {}, "Bash": {"command": "git diff --stat"}}
    assert {tool: rules.of(tool, arguments, "/").do for tool, arguments in passing.items()} == dict.fromkeys(
        passing, Do.PASS
    )
    holding = ("git diff --output=x", "ls; id", "git push")
    assert {rules.of("Bash", {"command": command}, "/").do for command in holding} == {Do.HOLD}


def test_a_call_that_passes_or_is_refused_needs_no_server(offline: Hook) -> None:
    offline.rules(RULES)
    passed = offline.run(event(tool_input={"command": "npm test"}))
    assert (passed.status, passed.out, passed.err) == (0, "", "")
    refused = offline.run(event(tool_input={"command": "rm -rf /"})).answer
    assert refused["permissionDecision"] == "deny"
    assert refused["permissionDecisionReason"] == "A rule refuses this call: use git clean. Do not work around it."


def test_the_rules_of_the_user_and_an_option(offline: Hook, tmp_path: Path) -> None:
    offline.rules('[[rule]]\ntool = "*"\ndo = "pass"\n')
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "sagahold.toml").write_text('default = "refuse"')
    assert offline.run(event()).decision == "deny"
    assert offline.run(event(), "--rules", ".claude/sagahold.toml").out == ""
    # No rule passes the settings of a user who has them elsewhere.
    write = event(tool_name="Write", tool_input={"file_path": str(tmp_path / "config" / "settings.json")})
    own = {"CLAUDE_CONFIG_DIR": str(tmp_path / "config")}
    assert "cannot reach" in offline.run(write, "--rules", ".claude/sagahold.toml", **own).blocked
