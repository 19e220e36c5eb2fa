"""One module states the server's version; the package's metadata, the CLI and the API document have it from there."""

from pathlib import Path

from setuptools.config.pyprojecttoml import read_configuration

from domain.values.version import VERSION

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "models", "services", "adapters", "tasks", "app", "cli")


def test_the_package_has_the_declared_version() -> None:
    project = read_configuration(str(ROOT / "pyproject.toml"))["project"]
    assert (project["name"], project["version"]) == ("sagahold-server", VERSION)


def test_no_module_repeats_the_version() -> None:
    """No module reads it from the installed package, whose name is not `sagahold`."""
    modules = [*(path for room in ROOMS for path in (ROOT / room).rglob("*.py")), *ROOT.glob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in modules}
    assert [name for name, text in texts.items() if f'"{VERSION}"' in text] == ["domain/values/version.py"]
    assert [name for name, text in texts.items() if "importlib.metadata" in text] == []
