"""The GitHub Action, the GitLab template, and the quick starts of docs/doors/ci.md and docs/doors/exec.md."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.commands import SAGAHOLD, Ran, finish
from tests.clients.desk import Desk

ROOT = Path(__file__).parents[3]
DOORS = ROOT / "docs" / "doors"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "github-action" / "action.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "integrations" / "gitlab" / "approval.gitlab-ci.yml").read_text())
(STEP,) = ACTION["runs"]["steps"]
HOSTILE = "$(touch injected) `touch injected` \"; touch injected; ' --wait=1s"


class Script:
    """Starts a shell script of a job, with `sagahold` on its path."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.folder = folder
        self.outputs = folder / "outputs"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, shell: list[str], text: str, cwd: Path | None = None, **environ: str) -> "subprocess.Popen[str]":
        path = f"{SAGAHOLD.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "HOME": str(self.folder), "GITHUB_OUTPUT": str(self.outputs)}
        process = subprocess.Popen(
            [*shell, text],
            env={**own, **self.desk.environ, **environ},
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def action(self, **inputs: str) -> "subprocess.Popen[str]":
        """Start the step of the action as a runner does: expressions are replaced, then the script runs."""
        given = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
        given |= {"url": self.desk.url, "api-key": self.desk.agent_key}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        environ = {
            name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: given[found[1]], value)
            for name, value in STEP["env"].items()
        }
        return self.start(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"], STEP["run"], **environ)


@pytest.fixture
def script(desk: Desk, tmp_path: Path) -> Iterator[Script]:
    made = Script(desk, tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def block(page: str) -> str:
    found = re.search(r"^```sh\n(.*?)^```", (DOORS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_action_is_a_composite_one_whose_script_has_no_expression() -> None:
    assert ACTION.keys() == {"name", "description", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    assert STEP.keys() == {"id", "shell", "env", "run"}
    assert "${{" not in STEP["run"]
    assert all(entry.keys() <= {"description", "required", "default"} for entry in ACTION["inputs"].values())
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", str(STEP["env"])))
    assert used == set(ACTION["inputs"])


def test_the_action_goes_on_after_an_approval(desk: Desk, script: Script) -> None:
    (script.folder / "json.py").write_text("open('injected', 'w')")
    asking = script.action(action=HOSTILE, arguments='{"version": "2.4.1"}', accept_edits="true", review="{}")
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == HOSTILE
    watch_id = desk.decide("approve", arguments={"version": "2.4.0"}, revision=1)
    ran = finish(asking)
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert pause["reviewUrl"] in ran.err
    assert script.outputs.read_text() == f'watch-id={watch_id}\narguments={{"version": "2.4.0"}}\n'
    assert not (script.folder / "injected").exists()


def test_the_action_fails_after_a_rejection_or_a_failure(desk: Desk, script: Script) -> None:
    asking = script.action(action="Deploy")
    desk.decide("reject")
    assert finish(asking).code == 1
    assert finish(script.action(action="Deploy", api_key="hitl_unknown")).code == 3
    # A file of the repository cannot name the server.
    (script.folder / ".sagahold").mkdir()
    (script.folder / ".sagahold" / "credentials.json").write_text('{"url": "http://127.0.0.1:1"}')
    for name, said in (("url", "url is empty"), ("api_key", "api-key is empty")):
        assert said in finish(script.action(action="Deploy", **{name: ""})).err
    assert not script.outputs.exists()


def test_the_gitlab_template(desk: Desk, script: Script) -> None:
    (job,) = GITLAB.values()
    line = "\n".join(job["before_script"])
    asking = script.start(["sh", "-ec"], line, SAGAHOLD_ACTION=HOSTILE, **job["variables"])
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == HOSTILE
    desk.decide("approve")
    assert finish(asking).code == 0
    assert "set SAGAHOLD_ACTION" in finish(script.start(["sh", "-ec"], line, **job["variables"])).err
    assert not (script.folder / "injected").exists()


def test_the_quick_start_of_ci(desk: Desk, script: Script) -> None:
    asking = script.start(["sh", "-euc"], block("ci.md"), cwd=ROOT, GIT_CONFIG_COUNT="0")
    (pause,) = desk.pending()
    assert re.fullmatch("Deploy [0-9a-f]{7,}", pause["agentContext"]["action"])
    desk.decide("approve")
    assert finish(asking).code == 0


def test_the_quick_start_of_exec(desk: Desk, script: Script) -> None:
    running = script.start(["sh", "-euc"], block("exec.md"))
    desk.decide("approve")
    ran: Ran = finish(running)
    assert (ran.code, ran.out) == (0, "published\n")
