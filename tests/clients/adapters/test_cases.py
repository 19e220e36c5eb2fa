"""The cases that need no other process, in the frameworks' environment and against a fake server."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.adapters.conftest import SDK

# The frameworks may have to be installed first.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("cases", ["langgraph_cases.py", "pydantic_ai_cases.py", "openai_agents_cases.py"])
def test_cases(frameworks: Path, tmp_path: Path, cases: str) -> None:
    options = ["-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
    command = [str(frameworks), "-m", "pytest", *options, str(Path(__file__).with_name(cases))]
    environ = {**os.environ, "PYTHONPATH": SDK}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("module", "framework", "extra"),
    [
        ("langgraph", "langgraph", "langgraph"),
        ("pydantic_ai", "pydantic_ai", "pydantic-ai"),
        ("openai_agents", "agents", "openai-agents"),
    ],
)
def test_a_missing_framework(monkeypatch: pytest.MonkeyPatch, module: str, framework: str, extra: str) -> None:
    monkeypatch.delitem(sys.modules, f"sagahold.adapters.{module}", raising=False)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(ImportError, match=rf'pip install "sagahold\[{extra}\]"'):
        importlib.import_module(f"sagahold.adapters.{module}")


def test_the_sdk_imports_no_framework(frameworks: Path) -> None:
    program = (
        "import sagahold, sagahold.adapters, sys; print({'langgraph', 'pydantic_ai', 'agents'} & sys.modules.keys())"
    )
    environ = {**os.environ, "PYTHONPATH": SDK}
    ran = subprocess.run([str(frameworks), "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
