"""How long sessions and their processes live."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adapters.mcp import ToolClient
from domain.manifests.definition import ToolSource, Transport
from tests.adapters.odd_server import SERVER, Odd, alive, eventually, lines, odd_servers
from tests.adapters.outcomes import LOST, TIMED_OUT, UNAVAILABLE, data_of, ends

CALLER = f"""
import sys, threading
from adapters.mcp import ToolClient
from domain.manifests.definition import ToolSource, Transport
source = ToolSource("odd", Transport.STDIO, command=sys.executable, args=({str(SERVER)!r}, "stdio"),
                    env={{"STARTED": sys.argv[1]}})
ToolClient().call((source,), "echo", {{"value": 1}}, meta={{}}, idempotency_key="k", timeout=30).result()
open(sys.argv[2], "w").write("called\\n")
if sys.argv[3:] != ["leave"]:
    threading.Event().wait()
"""

BRIEF = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "brief", "version": "1"}},
        "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": json.dumps({"value": 1})}]},
    }
    answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})
    if message["method"] == "tools/call":
        sys.stdout.write(answer)
        break
    print(answer, flush=True)
"""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Odd]:
    with odd_servers("stdio", tmp_path) as server:
        yield server


def echo(client: ToolClient, source: ToolSource, timeout: float = 30) -> None:
    data = data_of(client.call((source,), "echo", {"value": 1}, meta={}, idempotency_key="k", timeout=timeout))
    assert data == {"value": 1}


def test_close_ends_the_server_and_its_children(odd: Odd):
    client = ToolClient()
    child = data_of(client.call((odd.source,), "child", {}, meta={}, idempotency_key="k", timeout=30))["pid"]
    assert alive(child)
    client.close()
    assert not alive(odd.pids()[0])
    eventually(lambda: not alive(child))
    with ends(UNAVAILABLE, match="shutting down"):
        echo(client, odd.source)


def test_close_ends_a_frozen_server_that_was_already_being_left(odd: Odd):
    client = ToolClient()
    echo(client, odd.source)  # it runs: a start may take longer than the call has
    with ends(TIMED_OUT):
        data_of(client.call((odd.source,), "block", {}, meta={}, idempotency_key="k", timeout=3))
    client.close()
    eventually(lambda: not alive(odd.pids()[0]))


def test_close_ends_calls_in_flight(odd: Odd):
    client = ToolClient()
    echo(client, odd.source)
    call = client.call((odd.source,), "hang", {}, meta={}, idempotency_key="k", timeout=60)
    eventually(lambda: odd.called() == ["hang"])
    client.close()
    assert LOST.fits(call.result(90))


@pytest.mark.parametrize("ending", ["killed", "leave"])
def test_a_server_does_not_outlive_us(tmp_path: Path, ending: str):
    started, called = tmp_path / "started", tmp_path / "called"
    us = subprocess.Popen([sys.executable, "-c", CALLER, str(started), str(called), ending])
    try:
        eventually(lambda: bool(lines(called)))
        if ending == "killed":
            assert alive(int(lines(started)[0]))
            us.send_signal(signal.SIGKILL)
        us.wait(30)
        eventually(lambda: not alive(int(lines(started)[0])))
    finally:
        us.kill()
        us.wait(30)


def test_a_server_that_is_slow_to_start_is_there_for_the_next_call(odd: Odd):
    client = ToolClient()
    try:
        with ends(UNAVAILABLE, match="was not ready within"):
            echo(client, odd.source, timeout=0.01)
        echo(client, odd.source)
        assert odd.started() == 1
    finally:
        client.close()


def test_an_idle_session_is_closed_and_the_next_call_opens_another(odd: Odd):
    client = ToolClient(idle_seconds=0.2)
    try:
        echo(client, odd.source)
        eventually(lambda: not alive(odd.pids()[0]))
        echo(client, odd.source)
        assert odd.started() == 2
    finally:
        client.close()


def test_the_longest_unused_of_too_many_is_closed(odd: Odd):
    client = ToolClient(max_sessions=2)
    try:
        first, second, third = (odd.with_(env={**odd.source.env, "NUMBER": str(number)}) for number in range(3))
        for source in (first, second, first, third):
            echo(client, source)
        one, two, three = odd.pids()
        eventually(lambda: not alive(two))
        assert alive(one)
        assert alive(three)
    finally:
        client.close()


def test_nothing_is_left_open_by_sessions_that_came_and_went(odd: Odd):
    client = ToolClient()
    us = psutil.Process()
    try:
        echo(client, odd.source)
        before = us.num_fds(), us.num_threads()
        for number in range(2, 7):
            odd.kill()
            echo(client, odd.source)
            assert odd.started() == number
        eventually(lambda: us.num_fds() <= before[0] and us.num_threads() <= before[1])
    finally:
        client.close()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("printf 'no license' >&2", "an MCP server says: no license"),
        ("printf 'one\\ntwo' >&2; exit 1", "an MCP server says: two"),
        ("printf 'no license'", "an MCP server must log to stderr, not to stdout: no license"),
        ("seq 1 150 >&2; printf 'last' >&2; kill -9 $$", "an MCP server says: last"),
    ],
)
def test_the_last_words_of_a_server_are_logged(script: str, said: str, caplog: pytest.LogCaptureFixture):
    """Also without an end of line, as of a program that ends in the middle of it."""
    source = ToolSource("mute", Transport.STDIO, command="sh", args=("-c", script))
    client = ToolClient()
    with caplog.at_level(logging.INFO), ends(UNAVAILABLE):
        echo(client, source)
    client.close()
    assert said in caplog.messages


def test_an_answer_without_an_end_of_line_counts():
    """The tool has run: its server wrote the whole answer, and ended."""
    source = ToolSource("brief", Transport.STDIO, command=sys.executable, args=("-c", BRIEF))
    client = ToolClient()
    echo(client, source)
    client.close()


def test_a_child_that_keeps_stderr_open_does_not_keep_the_session(tmp_path: Path):
    """A daemon of the server's holds the pipe. The server's output is logged all the same, without a wait for it."""
    script = f"setsid sleep 600 & echo $! > {tmp_path}/child; printf 'gone' >&2"
    client = ToolClient()
    with ends(UNAVAILABLE):
        echo(client, ToolSource("parent", Transport.STDIO, command="sh", args=("-c", script)))
    client.close()
    child = int((tmp_path / "child").read_text())
    assert alive(child)
    os.kill(child, signal.SIGKILL)
