"""Agents as processes in an environment of their own, which have the SDK's sources on their path."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sagahold

from tests.clients.adapters.processes import Agent
from tests.clients.desk import Desk
from tests.clients.install import get, required

HERE = Path(__file__).parent
SDK = str(Path(sagahold.__file__).parents[1])


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """Return the interpreter that has the frameworks."""
    if why := get(HERE / ".venv"):
        (pytest.fail if required() else pytest.skip)(why)
    return HERE / ".venv" / "bin" / "python"


@pytest.fixture
def agent(frameworks: Path, desk: Desk, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(program: str, *arguments: str, **environ: str) -> Agent:
        inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        environ = {**inherited, **desk.environ, "PYTHONPATH": SDK, **environ}
        made.append(Agent([str(frameworks), str(HERE / program), str(tmp_path), *arguments], tmp_path, environ))
        return made[-1]

    yield make
    for each in made:
        each.end()
