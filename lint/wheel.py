"""The server's wheel: the tree of the repository inside one package, `sagahold_server`."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools.command.build_py import build_py

PACKAGE = "sagahold_server"
# Files that the server and its readers need besides the modules.
FILES = ("Procfile", "examples", "docs", "README.md", "CHANGELOG.md")
UNWANTED = shutil.ignore_patterns("__pycache__", "node_modules", "images", ".*")


class NestedBuild(build_py):  # type: ignore[misc]  # setuptools has no types
    """The build of Python modules, one folder deeper unless the installation is editable."""

    build_lib: str

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        target = Path(self.build_lib) / PACKAGE
        # A module that was removed since the last build must not be in the wheel.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        self.build_lib = str(target)
        super().run()
        (target / f"{PACKAGE}.py").rename(target / "__init__.py")
        for name in FILES:
            source = Path(name)
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=UNWANTED)
            else:
                shutil.copy(source, target / name)
        if find_spec("zensical") is None:
            self.warn("the wheel has no guide: build it without isolation, in the environment of `make setup`")
            return
        command = [sys.executable, "-m", "docsite.build", str(target / "app" / "guide" / "site")]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": os.getcwd()}, check=True)
