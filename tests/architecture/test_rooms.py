"""The house rules that no linter knows: sizes, and names that would be a cellar for everything."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "models", "services", "adapters", "tasks", "app", "cli")
ENTRIES = ("settings.py", "wsgi.py", "celeryconfig.py")
SDK = ROOT / "sdk" / "python" / "src" / "sagahold"
FOLDERS = (*(ROOT / room for room in ROOMS), SDK)
FILES = sorted([*(path for folder in FOLDERS for path in folder.rglob("*.py")), *(ROOT / name for name in ENTRIES)])
# A file or a function that is longer is probably two things.
MAX_FILE = 400
MAX_FUNCTION = 60
FORBIDDEN = {"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "lib", "tools"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lengths(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the name and length of each function; the lines of an inner function count only for the inner one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            within = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield node.name, lines(node) - sum(map(lines, within))


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sizes_and_names(path: Path) -> None:
    """Each file does one thing, says which, and its name is the thing's."""
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") < MAX_FILE
    assert [(name, length) for name, length in lengths(tree) if length > MAX_FUNCTION] == []
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & FORBIDDEN
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), "what is this file for?"


def test_every_room_is_checked() -> None:
    """A new room is added above, and to the import contracts."""
    not_rooms = {"tests", "bench", "docs", "docsite", "migrations", "examples", "build"}
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} - not_rooms
    assert there == set(ROOMS)
