"""Installation of the programs that tests run against the server: generators, linters, and clients of other projects.

They are other programs' dependencies, so they get folders of their own. Each `package-lock.json` has a
`node_modules` beside it, each `requirements.txt` a `.venv`, and each `sdist.txt` an `sdist` with the archives of source
distributions. The tests get what is missing when they begin; where that cannot be had they are skipped, but fail where
`CI` is set.
"""

import fcntl
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
# The list of a folder's content, and the command that fills the folder.
NPM = ("package-lock.json", ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"))
PIP = ("requirements.txt", (".venv/bin/python", "-m", "pip", "install", "--require-hashes", "-r", "requirements.txt"))
# Only the archive; pip builds its metadata with what the `.venv` beside it has.
EXACT = ("--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes", "-r", "sdist.txt")
SDIST = ("sdist.txt", (".venv/bin/python", "-m", "pip", "download", *EXACT, "-d", "sdist"))
KINDS = {"node_modules": NPM, ".venv": PIP, "sdist": SDIST}


def main() -> None:
    for name, (list_name, _) in KINDS.items():
        for lock in sorted(HERE.rglob(list_name)):
            if not KINDS.keys() & set(lock.parts) and (why := get(lock.parent / name)):
                print(f"Tests that need it will {'fail' if required() else 'be skipped'}: {why}")


def get(folder: Path) -> str | None:
    """Install the missing programs, and return what is still missing and how to get it."""
    lock, command = KINDS[folder.name]
    folder.mkdir(exist_ok=True)
    # Several test processes may need one folder.
    with (folder.parent / f"{folder.name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if missing(folder) and shutil.which("npm" if folder.name == "node_modules" else sys.executable):
            if folder.name == ".venv":
                _ran((sys.executable, "-m", "venv", "--clear", str(folder)), folder.parent)
            if _ran(command, folder.parent):
                (folder / ".from").write_text(_digest(folder.parent / lock))
        return missing(folder)


def missing(folder: Path) -> str | None:
    lock, command = KINDS[folder.name]
    stamp = folder / ".from"
    there = stamp.read_text() if stamp.exists() else None
    wanted = _digest(folder.parent / lock)
    return None if there == wanted else f"{folder} is not there or old: {' '.join(command)}, in {folder.parent}"


def required() -> bool:
    return bool(os.environ.get("CI"))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _ran(command: tuple[str, ...], where: Path) -> bool:
    return subprocess.run(command, cwd=where, check=False, **QUIET).returncode == 0


if __name__ == "__main__":
    main()
