"""pyproject.toml is the only place that states the version."""

import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "models", "services", "adapters", "tasks", "app", "cli")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_package_has_the_declared_version() -> None:
    assert version("sagahold") == VERSION


def test_no_module_repeats_the_version() -> None:
    modules = [*(path for room in ROOMS for path in (ROOT / room).rglob("*.py")), *ROOT.glob("*.py")]
    assert [str(path) for path in modules if f'"{VERSION}"' in path.read_text()] == []
