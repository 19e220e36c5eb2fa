"""Installation of the programs for tests of generated clients: the generators and two linters.

They are other programs' dependencies, so they get folders of their own: `node_modules`, and `.venv` for the Python one.
The tests get what is missing when they begin; where that cannot be had they are skipped, but fail where `CI` is set.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NODE = HERE / "node_modules"
PYTHON = HERE / ".venv"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
# Each folder, the file that says what is in it, and a command that fills it.
PARTS = {
    NODE: ("package-lock.json", ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")),
    PYTHON: ("requirements.txt", (str(PYTHON / "bin/pip"), "install", "--require-hashes", "-r", "requirements.txt")),
}


def main() -> None:
    for folder in PARTS:
        if why := get(folder):
            print(f"Tests of generated clients will {'fail' if required() else 'be skipped'}: {why}")


def get(folder: Path) -> str | None:
    """Install the missing programs, and return what is still missing and how to get it."""
    lock, command = PARTS[folder]
    if missing(folder) and shutil.which("npm" if folder == NODE else sys.executable):
        if folder == PYTHON:
            _ran((sys.executable, "-m", "venv", "--clear", str(PYTHON)))
        if _ran(command):
            (folder / ".from").write_text(_digest(lock))
    return missing(folder)


def missing(folder: Path) -> str | None:
    lock, command = PARTS[folder]
    stamp = folder / ".from"
    there = stamp.read_text() if stamp.exists() else None
    return None if there == _digest(lock) else f"{folder} is not there or old: {' '.join(command)}, in {HERE}"


def required() -> bool:
    return bool(os.environ.get("CI"))


def _digest(lock: str) -> str:
    return hashlib.sha256((HERE / lock).read_bytes()).hexdigest()


def _ran(command: tuple[str, ...]) -> bool:
    return subprocess.run(command, cwd=HERE, check=False, **QUIET).returncode == 0


if __name__ == "__main__":
    main()
