"""The quick start of the manual, run as printed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.awaithumans.conftest import HERE
from tests.clients.desk import Desk
from tests.clients.programs import Start, ended

MANUAL = (HERE.parents[2] / "docs" / "doors" / "awaithumans.md").read_text()
# The client may have to be installed first.
pytestmark = pytest.mark.timeout(600)


def test_the_quick_start(stack: Stack, desk: Desk, start: Start, tmp_path: Path) -> None:
    """With the environment that has the client already."""
    (shell, secret), (text,) = (re.findall(rf"^```{kind}\n(.*?)^```", MANUAL, re.M | re.S) for kind in ("sh", "python"))
    make, install, *settings = shell.splitlines()
    assert (make, install) == ("python3 -m venv agent", "agent/bin/pip install awaithumans==0.1.12")
    (tmp_path / ".sagahold").symlink_to(stack.data.path)
    environ = {**os.environ, "SAGAHOLD_URL": stack.url, "SAGAHOLD_API_KEY": stack.credentials["agent_key"]}
    command = ["sh", "-euc", "\n".join([*settings, "env", secret])]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert f"AWAITHUMANS_URL={stack.url}/compat/awaithumans\n" in ran.stdout
    assert f"AWAITHUMANS_ADMIN_API_TOKEN={stack.credentials['agent_key']}\n" in ran.stdout
    assert re.fullmatch("[A-Za-z0-9+/]{43}=", ran.stdout.splitlines()[-1])
    file = tmp_path / "refund.py"
    file.write_text(text)
    agent = start(file)
    desk.decide("reject", comment="Paid twice.")
    assert ended(agent) == "kept: Paid twice."
