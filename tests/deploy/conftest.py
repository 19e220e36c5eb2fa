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
CHART = ROOT / "deploy" / "helm" / "sagahold"


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


@pytest.fixture(scope="session")
def chart(programs: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """`chart(values)`: what `chart.py` prints of our chart."""

    def run(values: dict[str, Any]) -> dict[str, Any]:
        command = [programs / "python", HERE / "chart.py", CHART]
        ran = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    return run


@pytest.fixture(scope="session")
def check_custom_resources() -> Callable[[list[dict[str, Any]]], None]:
    if why := get(HERE / "node_modules"):
        (pytest.fail if required() else pytest.skip)(why)

    def check(manifests: list[dict[str, Any]]) -> None:
        command = ["node", HERE / "custom_resources.mjs"]
        ran = subprocess.run(command, input=json.dumps(manifests), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    return check
