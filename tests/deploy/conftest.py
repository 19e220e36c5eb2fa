"""The programs that read deployment files: hadolint, Docker Compose, Helm's engine and the schemas of Kubernetes."""

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.install import get, required

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test time for the installation of its programs, and of the image."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return the folder of the programs."""
    if why := get(HERE / ".venv"):
        (pytest.fail if required() else pytest.skip)(why)
    return HERE / ".venv" / "bin"


@pytest.fixture(scope="session")
def compose(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, Any]]:
    """`compose(folder)`: the folder's compose.yaml as Docker Compose understands it."""
    if why := get(HERE / "sdist"):
        (pytest.fail if required() else pytest.skip)(why)
    (archive,) = (HERE / "sdist").glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("compose")
    with tarfile.open(archive) as packed:
        (member,) = (each for each in packed if each.name.endswith("/docker-compose"))
        packed.extract(member, folder, filter="data")
    program = folder / member.name

    def config(project: Path) -> dict[str, Any]:
        command = [program, "--project-directory", project, "config", "--format", "json"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
        found: dict[str, Any] = json.loads(ran.stdout.replace("$$", "$"))
        return found

    return config
