"""The cases that need no other process, in the frameworks' environment and against a fake server."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.adapters.conftest import SDK

# The frameworks may have to be installed first.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("cases", ["langgraph_cases.py"])
def test_cases(frameworks: Path, tmp_path: Path, cases: str) -> None:
    options = ["-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
    command = [str(frameworks), "-m", "pytest", *options, str(Path(__file__).with_name(cases))]
    environ = {**os.environ, "PYTHONPATH": SDK}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
