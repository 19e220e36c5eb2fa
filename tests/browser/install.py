"""The needs of the browser tests besides Python packages: Debian's Chromium, and the accessibility engine from npm.

`python -m tests.browser.install` installs them. If it cannot, it prints how, in one line each, and exits with status 0.
The tests that need them are then skipped, or fail if `CI` or `BROWSER_TESTS=required` is set.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
AXE = HERE / "node_modules" / "axe-core"
APT = ("apt-get", "--quiet", "--yes")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


def main() -> None:
    for missing, get in ((no_browser, get_browser), (no_axe, get_axe)):
        if missing():
            get()
        if why := missing():
            print(f"Browser tests will {'fail' if required() else 'be skipped'}: {why}")


def no_browser() -> str | None:
    """Say what is missing and how to install it."""
    return None if CHROMIUM.exists() else f"there is no {CHROMIUM}: apt-get install chromium, as root on Debian"


def no_axe() -> str | None:
    try:
        there = json.loads((AXE / "package.json").read_text())["version"]
    except FileNotFoundError:
        there = None
    wanted = json.loads((HERE / "package-lock.json").read_text())["packages"]["node_modules/axe-core"]["version"]
    return None if there == wanted else f"axe-core {wanted} is missing: npm ci --prefix {HERE}, with Node.js"


def required() -> bool:
    return bool(os.environ.get("CI")) or os.environ.get("BROWSER_TESTS") == "required"


def get_browser() -> None:
    if os.geteuid() == 0 and shutil.which(APT[0]):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # A fresh container may have no font at all, and a page without letters shows nothing.
        install = (*APT, "install", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        # The lists of packages may be missing or old, as in a fresh container.
        if not _ran(install, env=environ):
            _ran((*APT, "update"), env=environ)
            _ran(install, env=environ)


def get_axe() -> None:
    if shutil.which("npm"):
        _ran(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(HERE)))


def _ran(command: tuple[str, ...], env: dict[str, str] | None = None) -> bool:
    return subprocess.run(command, env=env, cwd=HERE, check=False, **QUIET).returncode == 0


if __name__ == "__main__":
    main()
