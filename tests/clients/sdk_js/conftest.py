"""The built package, and programs that use it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.node_agent import Agent, compile_sdk

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def package(node: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose programs can import the package."""
    folder = tmp_path_factory.mktemp("sdk_js")
    compile_sdk(node, folder)
    return folder


@pytest.fixture
def start(package: Path, desk: Desk, tmp_path: Path) -> Callable[..., Agent]:
    """Start a program of `text`, or the file of that name beside this one."""

    def run(program: str, *arguments: str | Path) -> Agent:
        text = program if "\n" in program else (HERE / program).read_text()
        file = package / f"{tmp_path.name}-{len(text)}.mjs"
        file.write_text(text)
        return Agent(file, *arguments, **desk.environ)

    return run
