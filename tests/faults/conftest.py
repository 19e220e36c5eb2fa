"""Fixtures of tests by fault injection, which break their stack. Each module has its own, repaired after each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.conftest import ALONE
from tests.faults.scene import Scene


@pytest.fixture(scope="module")
def fragile() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), environ=ALONE, say=print) as stack:
        yield stack


@pytest.fixture
def scene(fragile: Stack) -> Iterator[Scene]:
    with Scene(fragile) as scene:
        yield scene
