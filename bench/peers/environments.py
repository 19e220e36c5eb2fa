"""The peers' own environments, outside our lock: installed once into a folder, at pinned versions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

# The one place for versions. Those that a peer's package depends on are what its registry gives on the day.
PYTHON_PACKAGES = {
    "restate": ("restate-sdk[serde]==1.3.0", "granian==2.8.9"),
    "langgraph": (
        "langgraph==1.2.24",
        "langgraph-checkpoint-postgres==3.2.0",
        "psycopg[binary,pool]==3.3.9",
        "uvicorn==0.55.0",
    ),
    "dbos": ("dbos==3.4.0", "psycopg[binary]==3.3.9", "uvicorn==0.55.0"),
}
NPM_PACKAGES = {"restate": "@restatedev/restate-server@1.7.12"}
# A slow network; 60 MB for the largest. Seconds.
INSTALL_SECONDS = 600.0


class AbsentError(Exception):
    """A peer cannot be measured here. The message says why in one line."""


class Environments:
    """One folder per peer under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def program(self, peer: str, name: str) -> Path:
        """Return the path of an installed Python console script."""
        return self._root / peer / "bin" / name

    def restate_server(self) -> Path:
        found = next((self._root / "restate" / "node_modules").glob("@restatedev/*/bin/restate-server"), None)
        if found is None:
            raise AbsentError("npm has no restate-server for this system")
        return found

    def install(self, peer: str) -> None:
        """Install the peer unless these versions are there. Raises `AbsentError`."""
        folder = self._root / peer
        wanted = json.dumps([PYTHON_PACKAGES[peer], NPM_PACKAGES.get(peer)])
        stamp = folder / "installed.json"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        if peer in NPM_PACKAGES and shutil.which("npm") is None:
            raise AbsentError("there is no npm; install Node.js with npm")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "pip"), "install", "--quiet", *PYTHON_PACKAGES[peer])
        if peer in NPM_PACKAGES:
            _run("npm", "install", "--silent", "--no-fund", "--prefix", str(folder), NPM_PACKAGES[peer])
        stamp.write_text(wanted)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise AbsentError(f"{Path(command[0]).name} failed: {said[-1] if said else error}") from None
