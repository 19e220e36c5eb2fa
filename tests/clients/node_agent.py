"""The TypeScript SDK, compiled for tests, and programs on Node that use it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.clients.desk import WITHIN

SOURCES = Path(__file__).parents[2] / "sdk" / "js"


def compile_sdk(node: Callable[..., str], folder: Path) -> None:
    """Compile the SDK, as `npm pack` does, so that programs in the folder can import it."""
    installed = folder / "node_modules" / "@sagahold" / "client"
    installed.mkdir(parents=True)
    shutil.copy(SOURCES / "package.json", installed)
    node("tsc", "--project", SOURCES, "--outDir", installed / "dist")


class Agent:
    """A running program."""

    def __init__(self, file: Path, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> None:
        node = shutil.which("node")
        assert node is not None
        command = [node, str(file), *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

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


def lines(printed: str) -> list[object]:
    """Return what a program has printed, one JSON value a line."""
    return [json.loads(line) for line in printed.split("\n") if line]
