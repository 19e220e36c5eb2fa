"""The tests that `agentapprovalprotocol` ships, unmodified: their provider in memory is this server instead."""

import tarfile
from pathlib import Path

import pytest

from cli.devstack import Stack
from tests.clients.desk import WITHIN
from tests.clients.install import HERE, get, required
from tests.clients.programs import Start

FILES = ["test_gate.py", "test_wire_and_receiver.py", "test_langgraph.py", "test_pydantic_ai.py"]
INSTANCES = "The server has no /v1/instances."
DEEP_AGENTS = "The package deepagents is not in the environment."
LEFT_OUT = {
    "test_wire_and_receiver.py::test_documented_signature_verifies": "The archive lacks the document that it reads.",
    "test_wire_and_receiver.py::test_provision_registers_the_receiver_and_installs_the_credential": INSTANCES,
    "test_wire_and_receiver.py::test_provision_surfaces_verification_failure_and_retries_with_the_same_key": INSTANCES,
    "test_wire_and_receiver.py::test_provision_refuses_a_receiver_expecting_another_registration": INSTANCES,
    "test_wire_and_receiver.py::test_provision_surfaces_other_errors": INSTANCES,
    "test_langgraph.py::test_deep_agent_subagent_calls_are_gated": DEEP_AGENTS,
    "test_langgraph.py::test_deep_agent_subagent_calls_pause_in_async_mode": DEEP_AGENTS,
    "test_langgraph.py::test_deep_agent_helper_refuses_graphs_it_cannot_reach": DEEP_AGENTS,
}


@pytest.fixture(scope="module")
def archive() -> Path:
    folder = HERE / "aap/sdist"
    if why := get(folder.parent / ".venv") or get(folder):
        (pytest.fail if required() else pytest.skip)(why)
    (found,) = folder.glob("*.tar.gz")
    return found


# The environment may have to be installed first.
@pytest.mark.timeout(600)
def test_its_own_tests_pass(stack: Stack, archive: Path, start: Start, tmp_path: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (tests,) = tmp_path.glob("*/tests")
    ours = {"SAGAHOLD_ADMIN_KEY": stack.credentials["admin_key"], "PYTHONPATH": str(HERE / "aap")}
    options = ["-q", "-rs", "-p", "server_provider", "-p", "no:cacheprovider"]
    left_out = [f"--deselect=tests/{test}" for test in LEFT_OUT]
    pytest_of_theirs = HERE / "aap/.venv/bin/pytest"
    process = start(pytest_of_theirs, *options, *left_out, *(tests / file for file in FILES), **ours)
    printed, errors = process.communicate(timeout=WITHIN)
    assert process.returncode == 0, printed + errors
    *_, summary = printed.splitlines()
    assert f"55 passed, {len(LEFT_OUT)} deselected" in summary, printed
