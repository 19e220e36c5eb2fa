"""The parts of the machine that a tool server can see and use; the tests start real servers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.mcp import ToolClient
from adapters.mcp.confined import confinement
from domain.manifests.definition import ToolSource, Transport
from domain.manifests.host_access import HostRules
from tests.adapters.odd_server import Odd, odd_servers
from tests.adapters.outcomes import NOT_CONFIGURED, UNAVAILABLE, data_of, ends

HIDING = """
import os, subprocess
from adapters.process.own_environment import hide_environment
hide_environment()
assert b"kept-secret" not in open("/proc/self/environ", "rb").read()
assert os.environ["TO_HIDE"] == "kept-secret"
assert subprocess.run(["sh", "-c", "echo $TO_HIDE"], capture_output=True).stdout == b"kept-secret\\n"
print("hidden")
"""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Odd]:
    with odd_servers("stdio", tmp_path) as server:
        yield server


def call(source: ToolSource, tool: str = "echo", rules: HostRules | None = None, **arguments: object) -> object:
    client = ToolClient(rules=rules)
    try:
        return data_of(client.call((source,), tool, arguments, meta={}, idempotency_key="k", timeout=30))
    finally:
        client.close()


def test_a_source_deployed_before_the_rules_is_refused_when_it_runs(odd: Odd) -> None:
    with ends(NOT_CONFIGURED, match=r"command: .*SAGAHOLD_STDIO_COMMANDS"):
        call(odd.with_(scoped=True), value=1)
    with ends(NOT_CONFIGURED, match=r"env\.A: .*DATABASE_URL belongs to the service"):
        call(odd.with_(env={"A": "${ENV:DATABASE_URL}"}), value=1)
    with ends(NOT_CONFIGURED, match=r"env_inherit\[0\]: .*DATABASE_URL belongs to the service"):
        call(odd.with_(env_inherit=("DATABASE_URL",)), value=1)
    assert odd.started() == 0
    rules = HostRules(commands=((sys.executable, odd.source.args[0]),))
    assert call(odd.with_(scoped=True), rules=rules, value=1) == {"value": 1}


def test_a_listed_program_is_not_searched_on_the_path_of_the_source(tmp_path: Path) -> None:
    """`PATH` in a source's `env` would otherwise decide which `true` is meant."""
    other = tmp_path / "true"
    other.write_text(f"#!/bin/sh\n: > {tmp_path}/ran\n")
    other.chmod(0o755)
    source = ToolSource("t", Transport.STDIO, command="true", env={"PATH": str(tmp_path)})
    with ends(UNAVAILABLE, match="the server closed"):
        call(source, rules=HostRules(commands=(("true",),)))
    assert not (tmp_path / "ran").exists()
    with ends(UNAVAILABLE, match="the server closed"):
        call(source)
    assert (tmp_path / "ran").exists()


def test_a_server_reads_nothing_of_the_worker(tmp_path: Path) -> None:
    """Though it is the same user, and even where that is root."""
    copies = " ".join(f"cat > {tmp_path}/{name} /proc/$PPID/{name};" for name in ("environ", "maps"))
    script = f"{copies} ls -l /proc/self/fd"
    source = ToolSource("t", Transport.STDIO, command="sh", args=("-c", f"{{ {script}; }} > {tmp_path}/fds 2>&1"))
    with ends(UNAVAILABLE):
        call(source)
    assert (tmp_path / "environ").read_bytes() == (tmp_path / "maps").read_bytes() == b""
    opened = {line.rpartition(" -> ")[2] for line in (tmp_path / "fds").read_text().splitlines() if " -> " in line}
    assert {name for name in opened if not name.startswith(("pipe:", "/proc/"))} == {f"{tmp_path}/fds"}


@pytest.mark.parametrize("version", [2, 6])
def test_each_kind_of_confinement_takes_no_more_than_others_secrets(version: int, tmp_path: Path) -> None:
    enter = confinement(version)
    assert enter is not None, "this kernel has no Landlock"

    def run(script: str) -> int:
        return subprocess.run(["sh", "-c", script], preexec_fn=enter, stderr=subprocess.DEVNULL).returncode

    assert run(f"cat /proc/{os.getpid()}/environ") != 0
    assert run(f"cd {tmp_path} && mkdir a b && touch a/x && mv a/x b/x && ln b/x a/y && cat /proc/self/environ") == 0
    assert run("sleep 60 & kill $!") == 0


def test_the_environment_of_our_own_processes_is_not_to_be_seen() -> None:
    environ = {**os.environ, "TO_HIDE": "kept-secret"}
    found = subprocess.run([sys.executable, "-c", HIDING], env=environ, capture_output=True, text=True)
    assert found.stdout == "hidden\n", found.stderr
