"""The built wheel in an environment of its own, and the examples of the README and the manual, run as printed."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import sagahold

from cli.devstack import Stack
from tests.clients.desk import WITHIN, Desk

ROOT = Path(__file__).parents[3]
README = (ROOT / "sdk" / "python" / "README.md").read_text()
MANUAL = (ROOT / "docs" / "sdk-python.md").read_text()
# Downloads of httpx and its dependencies.
pytestmark = pytest.mark.timeout(600)
# Neither the sources nor the packages of this environment.
CLEAN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(command: list[str], cwd: Path, **environ: str) -> str:
    ran = subprocess.run(
        command, cwd=cwd, env={**CLEAN, **environ}, capture_output=True, text=True, timeout=500, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def environment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the quick start of the manual was run: `agent` is the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    (recipe,) = re.findall(r"^dist: setup\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    build = shlex.split(recipe.replace("$(BIN)", str(Path(sys.executable).parent)))
    build[build.index("dist")] = str(folder / "dist")
    run(build, ROOT)
    (folder / ".sagahold").symlink_to(stack.data.path)
    first, *others = blocks(MANUAL, "sh")[0].splitlines()
    assert first == "make dist"
    printed = run(["sh", "-euc", "\n".join([*others, "env"])], folder)
    assert f"SAGAHOLD_URL={stack.url}\n" in printed
    assert f"SAGAHOLD_API_KEY={stack.credentials['agent_key']}\n" in printed
    return folder


@pytest.fixture
def example(environment: Path, desk: Desk, tmp_path: Path) -> Callable[..., str]:
    def decided(text: str, verdict: str, **body: object) -> str:
        """Run the text in the environment, decide its pause, and return its output."""
        file = tmp_path / "example.py"
        file.write_text(text)
        command = [str(environment / "agent" / "bin" / "python"), str(file)]
        with subprocess.Popen(
            command, env={**CLEAN, **desk.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as agent:
            try:
                desk.decide(verdict, **body)
                printed, _ = agent.communicate(timeout=WITHIN)
            finally:
                agent.kill()
        assert agent.returncode == 0, printed
        return printed

    return decided


def test_the_wheel_needs_only_httpx(environment: Path) -> None:
    python = str(environment / "agent" / "bin" / "python")
    ask = "from importlib.metadata import *; print(version('sagahold'), *requires('sagahold'), *files('sagahold'))"
    version, requires, *files = run([python, "-c", ask], environment).split()
    assert version == sagahold.__version__
    assert requires.startswith("httpx")
    assert "sagahold/py.typed" in files
    assert any(file.endswith("LICENSE") for file in files)
    project = tomllib.loads((ROOT / "sdk" / "python" / "pyproject.toml").read_text())["project"]
    assert (project["requires-python"], len(project["dependencies"])) == (">=3.10", 1)


def test_the_example_of_the_readme(example: Callable[..., str]) -> None:
    (text,) = blocks(README, "python")
    assert len(text.splitlines()) <= 18
    assert example(text, "approve") == "refunded 12900 cents for order 1042\n"


def test_the_example_of_the_readme_rejected(example: Callable[..., str]) -> None:
    (text,) = blocks(README, "python")
    assert "was rejected by test reviewer: paid twice. Do not run it." in example(text, "reject", comment="paid twice")


def test_the_example_of_the_manual(example: Callable[..., str]) -> None:
    edited = {"service": "shop", "version": "2.4.0"}
    printed = example(blocks(MANUAL, "python")[0], "approve", arguments=edited, revision=1)
    assert printed == "deploying shop 2.4.0\n"


def test_each_step_of_the_manual(example: Callable[..., str]) -> None:
    assert example(blocks(MANUAL, "python")[1], "approve") == "deleting ['a', 'b', 'c']\n"


def test_the_test_of_the_manual() -> None:
    names = {"__name__": "manual"}
    exec(compile(blocks(MANUAL, "python")[2], "sdk-python.md", "exec"), names)
    names["test_refund"]()  # type: ignore[operator]


TYPED = """
import asyncio
from sagahold import AsyncClient, Client, Pause, require_approval

@require_approval(action="Refund", when=lambda cents, **_: cents > 5, key=lambda **call: call["order"])
def refund(order: str, cents: int = 5, *, note: str | None = None) -> int:
    return cents

@require_approval(action=lambda **call: "x", client=AsyncClient("http://x"), valid_for=None)
async def later(order: str) -> bytes:
    return b""

class Bank:
    @require_approval(action="Pay")
    def pay(self, cents: int) -> str:
        return ""

reveal_type(refund("A-1", 5, note="x"))
reveal_type(asyncio.run(later("A-1")))
reveal_type(Bank().pay(1))
reveal_type([pause for pause in Client().list()])
refund(1042)
asyncio.run(later())
Bank().pay("1")
"""


def test_decorated_functions_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    path = str(Path(sagahold.__file__).parents[1])
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "typed.py"]
    ran = subprocess.run(
        command, cwd=tmp_path, env={**CLEAN, "MYPYPATH": path}, capture_output=True, text=True, check=False
    )
    found = re.findall(r"(?:Revealed type is|error:) (.*)", ran.stdout)
    assert [line.replace("builtins.", "") for line in found[:4]] == [
        '"int"',
        '"bytes"',
        '"str"',
        '"list[sagahold.pauses.Pause]"',
    ], ran.stdout
    assert ['"refund" has incompatible type "int"' in found[4], '"order" in call to "later"' in found[5]] == [
        True,
        True,
    ]
    assert '"pay" of "Bank" has incompatible type "str"' in found[6]
    assert len(found) == 7, ran.stdout
