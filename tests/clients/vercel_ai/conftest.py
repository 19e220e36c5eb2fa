"""The framework as npm installs it, beside the compiled SDK."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.install import get, required
from tests.clients.node_agent import compile_sdk

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def framework(node: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose programs can import `ai` and the SDK."""
    if why := get(HERE / "node_modules"):
        (pytest.fail if required() else pytest.skip)(why)
    folder = tmp_path_factory.mktemp("vercel_ai")
    compile_sdk(node, folder)
    (folder / "node_modules" / "ai").symlink_to(HERE / "node_modules" / "ai")
    return folder
