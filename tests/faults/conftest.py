"""Fixtures of tests by fault injection, which break their stack. They share one, and each test repairs it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.conftest import ALONE, stop_fsync
from tests.faults.model_scene import Mind
from tests.faults.scene import Scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test time for several waits. The deadline of a wait says what is missing."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def mind() -> Iterator[Mind]:
    mind = Mind()
    with mind.server:
        yield mind


@pytest.fixture(scope="session")
def shared(mind: Mind) -> Iterator[Stack]:
    """A stack for all modules of a test process: a start takes some 15 seconds of processor time."""
    # The worker resolves a name, as it does for every real provider.
    environ = {**ALONE, "SAGAHOLD_LOCAL_LLM_URL": f"http://localhost:{mind.server.port}/v1"}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), environ=environ, say=print) as stack:
        stop_fsync(stack)
        yield stack


@pytest.fixture(scope="module")
def fragile(shared: Stack) -> Iterator[Stack]:
    """The shared stack. Processes that a failed test added are stopped, so that they fail no other module."""
    whole = set(shared.names())
    yield shared
    for name in set(shared.names()) - whole:
        shared.stop_process(name, 0)


@pytest.fixture
def scene(fragile: Stack) -> Iterator[Scene]:
    with Scene(fragile) as scene:
        yield scene
