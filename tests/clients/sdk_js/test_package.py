"""The tarball that `make dist` makes, and the examples of the README and the manual, run as printed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sagahold

from cli.devstack import Stack
from tests.clients.desk import Desk
from tests.clients.install import NODE
from tests.clients.node_agent import SOURCES, Agent

ROOT = SOURCES.parents[1]
README = (SOURCES / "README.md").read_text()
MANUAL = (ROOT / "docs" / "sdk-typescript.md").read_text()
pytestmark = pytest.mark.timeout(600)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(command: list[str], cwd: Path, **environ: str) -> str:
    quiet = {"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_update_notifier": "false"}
    ran = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **quiet, **environ},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def quick_start(node: Callable[..., str], stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the quick start of the manual was run: `agent` has the package."""
    folder = tmp_path_factory.mktemp("tarball")
    shutil.copytree(SOURCES, folder / "sdk" / "js", ignore=shutil.ignore_patterns("dist", "node_modules"))
    (recipe,) = re.findall(r"(cd sdk/js && .*?);", (ROOT / "Makefile").read_text())
    install, pack = recipe.split(" && ")[1:]
    assert install.startswith("npm ci ")
    # The tests have the same TypeScript already.
    (folder / "sdk" / "js" / "node_modules").symlink_to(NODE)
    (folder / "dist").mkdir()
    run(["sh", "-euc", pack], folder / "sdk" / "js")
    (folder / ".sagahold").symlink_to(stack.data.path)
    first, *others = blocks(MANUAL, "sh")[0].splitlines()
    assert first == "make dist"
    printed = run(["sh", "-euc", "\n".join([*others, "env"])], folder)
    assert f"SAGAHOLD_URL={stack.url}\n" in printed
    assert f"SAGAHOLD_API_KEY={stack.credentials['agent_key']}\n" in printed
    return folder


@pytest.fixture
def example(quick_start: Path, desk: Desk) -> Callable[..., str]:
    def decided(text: str, verdict: str, **body: object) -> str:
        """Run the text where the package is, decide its pause, and return its output."""
        file = quick_start / "agent" / "example.mjs"
        file.write_text(text)
        agent = Agent(file, **desk.environ)
        try:
            desk.decide(verdict, **body)
            return agent.ended()
        finally:
            agent.kill()

    return decided


def test_the_package_has_types_and_no_dependencies(quick_start: Path) -> None:
    installed = quick_start / "agent" / "node_modules" / "@sagahold" / "client"
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    modules = {path.stem for path in (SOURCES / "src").glob("*.ts")}
    compiled = {f"dist/{module}{suffix}" for module in modules for suffix in (".js", ".d.ts")}
    assert files == compiled | {"LICENSE", "README.md", "package.json"}
    assert "dependencies" not in json.loads((installed / "package.json").read_text())
    assert [path.name for path in (quick_start / "agent" / "node_modules").iterdir() if path.name[0] != "."] == [
        "@sagahold"
    ]
    imports = re.findall(r'from "([^"]+)"', "".join(map(Path.read_text, installed.rglob("*.js"))))
    assert all(name.startswith("./") for name in imports)


def test_the_example_of_the_readme(example: Callable[..., str]) -> None:
    (text,) = blocks(README, "js")
    assert len(text.splitlines()) <= 18
    assert example(text, "approve") == "refunded 12900 cents for order 1042\n"


def test_the_example_of_the_readme_rejected(example: Callable[..., str]) -> None:
    (text,) = blocks(README, "js")
    assert "was rejected by test reviewer: paid twice. Do not run it." in example(text, "reject", comment="paid twice")


def test_the_example_of_the_manual(example: Callable[..., str]) -> None:
    edited = {"service": "shop", "version": "2.4.0"}
    printed = example(blocks(MANUAL, "js")[0], "approve", arguments=edited, revision=1)
    assert printed == "deploying shop 2.4.0\n"


def test_the_typed_example_of_the_manual(example: Callable[..., str], quick_start: Path, node: Any) -> None:
    agent = quick_start / "agent"
    (agent / "typed.mts").write_text(blocks(MANUAL, "ts")[0])
    (agent / "globals.d.ts").write_text("declare const console: { log(text: string): void };\n")
    strict = ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
    node("tsc", *strict, "typed.mts", cwd=agent)
    assert example((agent / "typed.mjs").read_text(), "approve") == "sent 12900 to Ada\n"


def test_each_step_of_the_manual(example: Callable[..., str]) -> None:
    assert example(blocks(MANUAL, "js")[1], "approve") == "deleting [ 'a', 'b', 'c' ]\n"


def test_the_webhook_receiver_of_the_manual(quick_start: Path, desk: Desk, client_for: Any, namespace: str) -> None:
    agent = sagahold.Client(desk.url, desk.agent_key)
    http: httpx.Client = client_for("agent")
    secret = http.get("/v1/webhooks/signing-secret", params={"namespace": namespace}).json()["secret"]
    file = quick_start / "agent" / "receiver.mjs"
    file.write_text(blocks(MANUAL, "js")[2])
    receiver = Agent(file, **desk.environ, WEBHOOK_SECRET=secret, PORT="0")
    try:
        url = f"http://127.0.0.1:{receiver.line().split()[-1]}/"
        assert httpx.post(url, content=b"{}").status_code == 400
        agent.request("Deploy", callbackUrl=url)
        desk.decide("approve")
        assert receiver.line() == "Deploy approved\n"
    finally:
        receiver.kill()


def test_the_test_of_the_manual(quick_start: Path) -> None:
    (quick_start / "agent" / "manual.test.mjs").write_text(blocks(MANUAL, "js")[3])
    run(["node", "--test", "manual.test.mjs"], quick_start / "agent")
