"""A project with the hook: one that talks to the stack, and one without a server."""

from pathlib import Path

import pytest

from tests.clients.claude_hook.driver import Hook
from tests.clients.desk import Desk


@pytest.fixture
def hook(desk: Desk, tmp_path: Path) -> Hook:
    return Hook(tmp_path, desk.environ)


@pytest.fixture
def offline(tmp_path: Path) -> Hook:
    return Hook(tmp_path, {"SAGAHOLD_API_KEY": "hitl_test", "SAGAHOLD_URL": "http://127.0.0.1:1"})
