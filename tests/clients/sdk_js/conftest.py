"""The built package, and programs that use it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.desk import WITHIN, Desk

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "sdk" / "js"


@pytest.fixture(scope="session")
def package(node: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose programs can import the package, compiled as `npm pack` compiles it."""
    folder = tmp_path_factory.mktemp("sdk_js")
    installed = folder / "node_modules" / "@sagahold" / "client"
    installed.mkdir(parents=True)
    shutil.copy(SOURCES / "package.json", installed)
    node("tsc", "--project", SOURCES, "--outDir", installed / "dist")
    return folder


class Agent:
    """A running program in the folder of the package."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ended(self, status: int = 0) -> str:
        """Wait for the end, and return what the program has printed."""
        try:
            printed, errors = self.process.communicate(timeout=WITHIN)
        finally:
            self.process.kill()
        assert self.process.returncode == status, printed + errors
        return printed

    def line(self) -> str:
        """Wait for the next line that the program prints; it is empty if the program has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(package: Path, desk: Desk, tmp_path: Path) -> "Callable[..., Agent]":
    """Start a program of `text`, or the file of that name beside this one."""

    def run(program: str, *arguments: str | Path) -> Agent:
        text = program if "\n" in program else (HERE / program).read_text()
        file = package / f"{tmp_path.name}-{len(text)}.mjs"
        file.write_text(text)
        command = ["node", str(file), *map(str, arguments)]
        environ = {"PATH": _path(), **desk.environ}
        return Agent(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    return run


def _path() -> str:
    found = shutil.which("node")
    assert found is not None
    return str(Path(found).parent)


def lines(printed: str) -> list[object]:
    """Return what a program has printed, one JSON value a line."""
    return [json.loads(line) for line in printed.split("\n") if line]
