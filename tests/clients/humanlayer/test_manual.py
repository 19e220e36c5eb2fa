"""The quick start of the manual, run as printed."""

import re
import subprocess
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk
from tests.clients.humanlayer.conftest import HERE
from tests.clients.programs import Start, ended

MANUAL = (HERE.parents[2] / "docs" / "doors" / "humanlayer.md").read_text()
# The client may have to be installed first.
pytestmark = pytest.mark.timeout(600)


def test_the_quick_start(stack: Stack, desk: Desk, start: Start, tmp_path: Path) -> None:
    """With the environment that has the client already."""
    (shell,), (text,) = (re.findall(rf"^```{kind}\n(.*?)^```", MANUAL, re.M | re.S) for kind in ("sh", "python"))
    make, install, *settings = shell.splitlines()
    assert (make, install) == ("python3 -m venv agent", "agent/bin/pip install humanlayer==0.7.9")
    (tmp_path / ".sagahold").symlink_to(stack.data.path)
    command = ["sh", "-euc", "\n".join([*settings, "env"])]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert f"HUMANLAYER_API_BASE={stack.url}/compat/humanlayer/v1\n" in printed
    assert f"HUMANLAYER_API_KEY={stack.credentials['agent_key']}\n" in printed
    file = tmp_path / "mail.py"
    file.write_text(text)
    agent = start(file)
    assert desk.pending()[0]["agentContext"]["arguments"] == {"to": "ann@example.org", "subject": "Welcome"}
    desk.decide("approve")
    desk.decide("approve", response="Ben")
    assert ended(agent) == "sent 'Welcome' to ann@example.org\nBen"
