"""The wheels of `make dist`, an environment with them, and the programs of a release."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.clients.install import HERE, get, required

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL") and not name.startswith("SAGAHOLD_")
}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dist")
    recipes = re.findall(r"^\t(\$\(BIN\)/uv build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for recipe in recipes:
        command = recipe.replace("$(BIN)", str(BIN)).replace("--out-dir dist", f"--out-dir {folder}")
        subprocess.run(["sh", "-c", command], cwd=ROOT, env=CLEAN, check=True, timeout=170)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def sagahold(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command in an environment of its own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, *wheels]
    subprocess.run(install, env=CLEAN, check=True, timeout=170)
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # The .pth files in that folder are not read, so that of the editable installation does not lead to the sources.
    (Path(own) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "sagahold"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Return the environment of the programs that a release uses."""
    folder = HERE / "wheel" / ".venv"
    if why := get(folder):
        (pytest.fail if required() else pytest.skip)(why)
    return folder
