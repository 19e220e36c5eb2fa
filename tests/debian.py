"""Programs of Debian's packages that tests run against ours. The first test that needs one installs it.

Where that is not possible the test is skipped, but fails where `CI` is set.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

APT = ("apt-get", "--quiet", "--yes")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


def program(name: str, package: str) -> Path:
    """Return the program's path."""
    if (found := _found(name)) is None:
        # Several test processes may need it.
        with (Path(tempfile.gettempdir()) / "sagahold-apt.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if _found(name) is None:
                install(package)
        found = _found(name)
    if found is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop(f"there is no {name}: apt-get install {package}, as root on Debian")
    return Path(found)


def _found(name: str) -> str | None:
    """Look in PATH, where only root's leads, and where PostgreSQL's programs are."""
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    return shutil.which(name, path=os.pathsep.join(places))


def install(*packages: str) -> None:
    """Install the packages, as far as that is possible."""
    if os.geteuid() != 0 or not shutil.which(APT[0]):
        return
    # The run level of a single user, in which no package starts its service.
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = (*APT, "install", "--no-install-recommends", *packages)
    # The lists of packages may be missing or old, as in a fresh container.
    if subprocess.run(command, env=environ, check=False, **QUIET).returncode:
        subprocess.run((*APT, "update"), env=environ, check=False, **QUIET)
        subprocess.run(command, env=environ, check=False, **QUIET)
