"""The needs of the browser tests besides Python packages: Debian's Chromium, and the accessibility engine from npm.

`python -m tests.browser.install` installs them. If it cannot, it prints how, in one line each, and exits with status 0.
The tests that need them are then skipped, or fail if `CI` or `BROWSER_TESTS=required` is set.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.debian import QUIET, install

HERE = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
AXE = HERE / "node_modules" / "axe-core"


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
    # A fresh container may have no font at all, and a page without letters shows nothing.
    install("chromium", "fonts-dejavu-core")


def get_axe() -> None:
    if shutil.which("npm"):
        command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(HERE))
        subprocess.run(command, cwd=HERE, check=False, **QUIET)


if __name__ == "__main__":
    main()
